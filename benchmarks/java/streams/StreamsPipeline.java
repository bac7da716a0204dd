import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import java.time.Instant;
import java.util.Arrays;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.atomic.LongAdder;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StoreQueryParameters;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.QueryableStoreTypes;
import org.apache.kafka.streams.state.ReadOnlyWindowStore;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.WindowStore;

/**
 * The pipeline's job in Kafka Streams: BOOTSTRAP TOPIC EVENTS DIRECTORY grouped|local.
 *
 * <p>`grouped` is the ordinary program: the DSL regroups by series through a repartition topic, which
 * carries the series and the amount only. `local` saves that topic: a processor folds each partition
 * into a window store of its own, and a query adds the partitions up. Both keep their state the
 * default way: a persistent RocksDB window store behind the record cache, with a changelog.
 */
public final class StreamsPipeline {
    private static final String STORE = "amounts";
    private static final Duration WINDOW = Duration.ofSeconds(10);
    // The partitions of a full topic are read at different speeds, which regrouping turns into late
    // events; none may be dropped. A longer grace costs nothing here.
    private static final Duration GRACE = Duration.ofMinutes(10);
    private static final Duration RETENTION = GRACE.plus(WINDOW);
    private static final Duration CLOSE_MAX = Duration.ofSeconds(60);
    private static final long ASK_MS = 100;

    private StreamsPipeline() {}

    public static void main(String[] arguments) throws Exception {
        String topic = arguments[1];
        long events = Long.parseLong(arguments[2]);
        Signals signals = new Signals(Path.of(arguments[3]));
        StreamsBuilder builder = new StreamsBuilder();
        KStream<byte[], byte[]> records =
                builder.stream(topic, Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()));
        if (arguments[4].equals("local")) {
            local(builder, records, signals);
        } else {
            grouped(records, signals);
        }
        Topology topology = builder.build();
        KafkaStreams streams = new KafkaStreams(topology, settings(arguments[0], signals.directory));
        streams.start();
        Map<String, Totals> rows = waitForAll(streams, events, signals);
        // Closing commits: what was counted is in RocksDB and in the changelog afterwards.
        streams.close(CLOSE_MAX);
        signals.result(rows);
        Thread.sleep(Long.MAX_VALUE); // whoever measures reads our CPU time, then ends us
    }

    private static Properties settings(String bootstrap, Path directory) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, directory.getFileName().toString());
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, directory.resolve("state").toString());
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1000);
        settings.put(
                StreamsConfig.NUM_STREAM_THREADS_CONFIG, Runtime.getRuntime().availableProcessors());
        return settings;
    }

    private static void grouped(KStream<byte[], byte[]> records, Signals signals) {
        records.process(() -> new Extract(signals))
                .groupByKey(Grouped.with("series", Serdes.String(), Serdes.Double()))
                .windowedBy(TimeWindows.ofSizeAndGrace(WINDOW, GRACE))
                .aggregate(
                        Totals::new,
                        (series, amount, totals) -> signals.fold(amount, totals),
                        Materialized.<String, Totals, WindowStore<Bytes, byte[]>>as(STORE)
                                .withKeySerde(Serdes.String())
                                .withValueSerde(Totals.SERDE)
                                .withRetention(RETENTION));
    }

    private static void local(
            StreamsBuilder builder, KStream<byte[], byte[]> records, Signals signals) {
        builder.addStateStore(
                Stores.windowStoreBuilder(
                                Stores.persistentWindowStore(STORE, RETENTION, WINDOW, false),
                                Serdes.String(),
                                Totals.SERDE)
                        .withCachingEnabled()
                        .withLoggingEnabled(Map.of()));
        records.process(() -> new Extract(signals)).process(() -> new Fold(signals), STORE);
    }

    private static Map<String, Totals> waitForAll(
            KafkaStreams streams, long events, Signals signals) throws Exception {
        // The state is asked for once, at the end: reading every row ten times a second would cost
        // more than the job.
        while (signals.folded.sum() < events) {
            Thread.sleep(ASK_MS);
            signals.counted(events);
        }
        while (true) {
            Thread.sleep(ASK_MS); // an event is counted just before it is stored
            Map<String, Totals> rows = rows(streams);
            if (rows.values().stream().mapToLong(totals -> totals.count).sum() == events) {
                return rows;
            }
        }
    }

    private static Map<String, Totals> rows(KafkaStreams streams) {
        ReadOnlyWindowStore<String, Totals> store =
                streams.store(
                        StoreQueryParameters.fromNameAndType(
                                STORE, QueryableStoreTypes.<String, Totals>windowStore()));
        Map<String, Totals> rows = new TreeMap<>();
        try (KeyValueIterator<Windowed<String>, Totals> all = store.all()) {
            while (all.hasNext()) {
                KeyValue<Windowed<String>, Totals> row = all.next();
                String cell = row.key.window().start() + "|" + row.key.key();
                rows.merge(cell, row.value, Totals::merge);
            }
        }
        return rows;
    }

    /** Splits a record into its events and takes from each what the job needs. */
    private static final class Extract implements Processor<byte[], byte[], String, Double> {
        private static final JsonFactory JSON = new JsonFactory();
        private final Signals signals;
        private ProcessorContext<String, Double> context;
        private String timestamp;
        private String type;
        private String country;
        private double amount;

        Extract(Signals signals) {
            this.signals = signals;
        }

        @Override
        public void init(ProcessorContext<String, Double> context) {
            this.context = context;
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            signals.began();
            byte[] lines = record.value();
            int begin = 0;
            for (int at = 0; at <= lines.length; at++) {
                if (at == lines.length || lines[at] == '\n') {
                    event(record, lines, begin, at - begin);
                    begin = at + 1;
                }
            }
        }

        private void event(Record<byte[], byte[]> record, byte[] lines, int begin, int length) {
            try (JsonParser parser = JSON.createParser(lines, begin, length)) {
                parser.nextToken();
                fields(parser);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
            long ms = Instant.parse(timestamp).toEpochMilli();
            context.forward(new Record<>(type + "|" + country, amount, ms, record.headers()));
        }

        private void fields(JsonParser parser) throws IOException {
            while (parser.nextToken() != JsonToken.END_OBJECT) {
                String name = parser.currentName();
                parser.nextToken();
                switch (name) {
                    case "timestamp" -> timestamp = parser.getText();
                    case "type" -> type = parser.getText();
                    case "data" -> fields(parser);
                    case "amount" -> amount = parser.getDoubleValue();
                    case "country" -> country = parser.getText();
                    default -> parser.skipChildren();
                }
            }
        }
    }

    /** Folds the events of one partition into that partition's store. */
    private static final class Fold implements Processor<String, Double, Void, Void> {
        private final Signals signals;
        private WindowStore<String, Totals> store;

        Fold(Signals signals) {
            this.signals = signals;
        }

        @Override
        public void init(ProcessorContext<Void, Void> context) {
            store = context.getStateStore(STORE);
        }

        @Override
        public void process(Record<String, Double> record) {
            long start = record.timestamp() / WINDOW.toMillis() * WINDOW.toMillis();
            Totals held = store.fetch(record.key(), start);
            Totals totals = held == null ? new Totals() : held;
            store.put(record.key(), signals.fold(record.value(), totals), start);
        }
    }

    /** Count, sum, min, max and a sketch whose p95 is within 1 % (bins of geometric width). */
    private static final class Totals {
        static final Serde<Totals> SERDE =
                Serdes.serdeFrom(
                        (topic, totals) -> totals == null ? null : totals.bytes(),
                        (topic, bytes) -> bytes == null ? null : new Totals(bytes));
        private static final double GAMMA = 1.01 / 0.99;
        private static final double PER_LOG = 1 / Math.log(GAMMA);
        private static final int HEAD = 4 * Long.BYTES + Integer.BYTES;

        long count;
        double sum;
        double min = Double.POSITIVE_INFINITY;
        double max = Double.NEGATIVE_INFINITY;
        private int first;
        private int[] bins = {};

        Totals() {}

        private Totals(byte[] bytes) {
            ByteBuffer buffer = ByteBuffer.wrap(bytes);
            count = buffer.getLong();
            sum = buffer.getDouble();
            min = buffer.getDouble();
            max = buffer.getDouble();
            first = buffer.getInt();
            bins = new int[buffer.remaining() / Integer.BYTES];
            buffer.asIntBuffer().get(bins);
        }

        byte[] bytes() {
            ByteBuffer buffer = ByteBuffer.allocate(HEAD + bins.length * Integer.BYTES);
            buffer.putLong(count).putDouble(sum).putDouble(min).putDouble(max).putInt(first);
            buffer.asIntBuffer().put(bins);
            return buffer.array();
        }

        Totals add(double amount) {
            count++;
            sum += amount;
            min = Math.min(min, amount);
            max = Math.max(max, amount);
            bin((int) Math.ceil(Math.log(amount) * PER_LOG), 1);
            return this;
        }

        static Totals merge(Totals left, Totals right) {
            left.count += right.count;
            left.sum += right.sum;
            left.min = Math.min(left.min, right.min);
            left.max = Math.max(left.max, right.max);
            for (int at = 0; at < right.bins.length; at++) {
                left.bin(right.first + at, right.bins[at]);
            }
            return left;
        }

        private void bin(int number, int times) {
            if (bins.length == 0) {
                first = number;
                bins = new int[1];
            } else if (number < first) {
                int[] wider = new int[bins.length + first - number];
                System.arraycopy(bins, 0, wider, first - number, bins.length);
                bins = wider;
                first = number;
            } else if (number >= first + bins.length) {
                bins = Arrays.copyOf(bins, number - first + 1);
            }
            bins[number - first] += times;
        }

        double p95() {
            long rank = (long) Math.floor(0.95 * (count - 1));
            int at = 0;
            for (long passed = bins[0]; passed <= rank; passed += bins[at]) {
                at++;
            }
            return 2 * Math.pow(GAMMA, first + at) / (1 + GAMMA);
        }
    }

    /** The files by which whoever measures learns how far we are. */
    private static final class Signals {
        final Path directory;
        final LongAdder folded = new LongAdder();
        private volatile boolean began;
        private boolean half;

        Signals(Path directory) {
            this.directory = directory;
        }

        void began() {
            if (!began) {
                began = true;
                write("began", "");
            }
        }

        Totals fold(double amount, Totals totals) {
            folded.increment();
            return totals.add(amount);
        }

        /** The second half is measured apart, because by then the compiler has done its work. */
        void counted(long events) {
            long count = folded.sum();
            if (!half && 2 * count >= events) {
                half = true;
                write("half", Long.toString(count));
            }
        }

        void result(Map<String, Totals> rows) {
            StringBuilder text = new StringBuilder();
            rows.forEach(
                    (cell, totals) -> {
                        String[] parts = cell.split("\\|");
                        text.append(text.isEmpty() ? "[" : ",");
                        text.append("[%s,\"%s\",\"%s\",".formatted((Object[]) parts));
                        text.append(totals.count + "," + totals.sum + "," + totals.min + ",");
                        text.append(totals.max + "," + totals.p95() + "]");
                    });
            write("result.json", "{\"rows\":" + text + "]}");
        }

        private synchronized void write(String name, String text) {
            try {
                Path partial = directory.resolve(name + ".partial");
                Files.writeString(partial, text);
                Files.move(partial, directory.resolve(name), StandardCopyOption.ATOMIC_MOVE);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }
    }
}
