"""Tables: state by partition, in RocksDB and on a changelog; no other room writes either."""
