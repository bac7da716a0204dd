import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Instant;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.api.common.JobStatus;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.annotation.FunctionHint;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.table.api.TableResult;
import org.apache.flink.table.functions.AggregateFunction;
import org.apache.flink.table.functions.TableFunction;
import org.apache.flink.types.Row;
import org.apache.flink.types.RowKind;
import org.apache.flink.util.CloseableIterator;

/**
 * The pipeline's job in Flink SQL: BOOTSTRAP TOPIC EVENTS DIRECTORY FRAMING.
 *
 * <p>One JVM with a local cluster. The windows are a grouping by time with mini-batches and two-phase
 * aggregation, which keeps its rows up to date like the product does; a table function cannot make an
 * event time that window functions accept, so with them framed records could not be read. The rows
 * come out with each checkpoint, thus what was read is also safe. The p95 is an aggregate function of
 * ours: Flink's own keeps every value.
 */
public final class FlinkPipeline {
    private static final long WINDOW_MS = 10_000;
    private static final long LOOK_MS = 2;

    private FlinkPipeline() {}

    public static void main(String[] arguments) throws Exception {
        long events = Long.parseLong(arguments[2]);
        Path directory = Path.of(arguments[3]);
        boolean framed = !arguments[4].equals("1");
        TableEnvironment tables = TableEnvironment.create(settings(directory));
        tables.createTemporarySystemFunction("P95", P95.class);
        tables.createTemporarySystemFunction("SPLIT", Split.class);
        tables.executeSql(framed ? records(arguments[0], arguments[1]) : events(arguments[0], arguments[1]));
        TableResult result = tables.executeSql(query(framed));
        JobClient job = result.getJobClient().orElseThrow();
        while (job.getJobStatus().get() != JobStatus.RUNNING) {
            Thread.sleep(LOOK_MS);
        }
        write(directory, "began", "");
        write(directory, "result.json", json(waitForAll(result, events, directory)));
        Thread.sleep(Long.MAX_VALUE); // whoever measures reads our CPU time, then ends us
    }

    private static EnvironmentSettings settings(Path directory) {
        int processors = Runtime.getRuntime().availableProcessors();
        Map<String, String> settings = new HashMap<>();
        settings.put("parallelism.default", Integer.toString(processors));
        settings.put("execution.checkpointing.interval", "1 s");
        settings.put("execution.checkpointing.storage", "filesystem");
        settings.put("execution.checkpointing.dir", directory.resolve("checkpoints").toUri().toString());
        settings.put("table.local-time-zone", "UTC");
        settings.put("table.exec.mini-batch.enabled", "true");
        settings.put("table.exec.mini-batch.allow-latency", "1 s");
        settings.put("table.exec.mini-batch.size", "20000");
        settings.put("table.optimizer.agg-phase-strategy", "TWO_PHASE");
        return EnvironmentSettings.newInstance()
                .inStreamingMode()
                .withConfiguration(Configuration.fromMap(settings))
                .build();
    }

    private static String events(String bootstrap, String topic) {
        return "CREATE TABLE events (`timestamp` TIMESTAMP_LTZ(3), `type` STRING,"
                + " `data` ROW<amount DOUBLE, country STRING>) "
                + kafka(bootstrap, topic)
                + ", 'format' = 'json', 'json.timestamp-format.standard' = 'ISO-8601')";
    }

    private static String records(String bootstrap, String topic) {
        return "CREATE TABLE records (record BYTES) "
                + kafka(bootstrap, topic)
                + ", 'format' = 'raw')";
    }

    private static String kafka(String bootstrap, String topic) {
        return "WITH ('connector' = 'kafka', 'topic' = '%s', 'properties.bootstrap.servers' = '%s',"
                        .formatted(topic, bootstrap)
                + " 'scan.startup.mode' = 'earliest-offset'";
    }

    private static String query(boolean framed) {
        String rows =
                framed
                        ? "SELECT pane, kind, country, amount FROM records, LATERAL TABLE(SPLIT(record))"
                        : "SELECT TIMESTAMPDIFF(SECOND, TIMESTAMP '1970-01-01 00:00:00',"
                                + " CAST(`timestamp` AS TIMESTAMP(3))) / 10 AS pane, `type` AS kind,"
                                + " `data`.country AS country, `data`.amount AS amount FROM events";
        return "SELECT CAST(pane AS BIGINT), kind, country,"
                + " COUNT(*), SUM(amount), MIN(amount), MAX(amount), P95(amount)"
                + " FROM (" + rows + ") GROUP BY pane, kind, country";
    }

    private static Map<List<Object>, Row> waitForAll(TableResult result, long events, Path directory)
            throws Exception {
        Map<List<Object>, Row> newest = new HashMap<>();
        long count = 0;
        boolean half = false;
        try (CloseableIterator<Row> changes = result.collect()) {
            while (count < events && changes.hasNext()) {
                Row row = changes.next();
                if (row.getKind() == RowKind.INSERT || row.getKind() == RowKind.UPDATE_AFTER) {
                    List<Object> cell = List.of(row.getField(0), row.getField(1), row.getField(2));
                    Row old = newest.put(cell, row);
                    count += (long) row.getField(3) - (old == null ? 0 : (long) old.getField(3));
                }
                if (!half && 2 * count >= events) {
                    half = true;
                    write(directory, "half", Long.toString(count));
                }
            }
            return newest;
        }
    }

    private static String json(Map<List<Object>, Row> rows) {
        StringBuilder text = new StringBuilder();
        for (Row row : rows.values()) {
            text.append(text.isEmpty() ? "[" : ",");
            text.append("[" + (long) row.getField(0) * WINDOW_MS);
            text.append(",\"" + row.getField(1) + "\",\"" + row.getField(2) + "\"");
            for (int at = 3; at < row.getArity(); at++) {
                text.append("," + row.getField(at));
            }
            text.append("]");
        }
        return "{\"rows\":" + text + "]}";
    }

    private static void write(Path directory, String name, String text) throws IOException {
        Path partial = directory.resolve(name + ".partial");
        Files.writeString(partial, text);
        Files.move(partial, directory.resolve(name), StandardCopyOption.ATOMIC_MOVE);
    }

    /** Splits a record into its events and takes from each what the job needs. */
    @FunctionHint(
            output = @DataTypeHint("ROW<pane BIGINT, kind STRING, country STRING, amount DOUBLE>"))
    public static final class Split extends TableFunction<Row> {
        private static final JsonFactory JSON = new JsonFactory();
        private transient String timestamp;
        private transient String type;
        private transient String country;
        private transient double amount;

        public void eval(byte[] lines) throws IOException {
            int begin = 0;
            for (int at = 0; at <= lines.length; at++) {
                if (at == lines.length || lines[at] == '\n') {
                    event(lines, begin, at - begin);
                    begin = at + 1;
                }
            }
        }

        private void event(byte[] lines, int begin, int length) throws IOException {
            try (JsonParser parser = JSON.createParser(lines, begin, length)) {
                parser.nextToken();
                fields(parser);
            }
            long pane = Instant.parse(timestamp).toEpochMilli() / WINDOW_MS;
            collect(Row.of(pane, type, country, amount));
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

    /** A p95 within 1 %: numbers of values in bins of geometric width. */
    public static final class P95 extends AggregateFunction<Double, P95.Bins> {
        private static final double GAMMA = 1.01 / 0.99;
        private static final double PER_LOG = 1 / Math.log(GAMMA);

        /** The bins from `first` on. */
        public static final class Bins {
            public int first;
            public int[] counts = {};
        }

        @Override
        public Bins createAccumulator() {
            return new Bins();
        }

        public void accumulate(Bins bins, Double amount) {
            add(bins, (int) Math.ceil(Math.log(amount) * PER_LOG), 1);
        }

        public void merge(Bins bins, Iterable<Bins> others) {
            for (Bins other : others) {
                for (int at = 0; at < other.counts.length; at++) {
                    add(bins, other.first + at, other.counts[at]);
                }
            }
        }

        @Override
        public Double getValue(Bins bins) {
            long count = Arrays.stream(bins.counts).asLongStream().sum();
            if (count == 0) {
                return null;
            }
            long rank = (long) Math.floor(0.95 * (count - 1));
            int at = 0;
            for (long passed = bins.counts[0]; passed <= rank; passed += bins.counts[at]) {
                at++;
            }
            return 2 * Math.pow(GAMMA, bins.first + at) / (1 + GAMMA);
        }

        private static void add(Bins bins, int number, int times) {
            int length = bins.counts.length;
            if (length == 0) {
                bins.first = number;
                bins.counts = new int[1];
            } else if (number < bins.first) {
                int[] wider = new int[length + bins.first - number];
                System.arraycopy(bins.counts, 0, wider, bins.first - number, length);
                bins.counts = wider;
                bins.first = number;
            } else if (number >= bins.first + length) {
                bins.counts = Arrays.copyOf(bins.counts, number - bins.first + 1);
            }
            bins.counts[number - bins.first] += times;
        }
    }
}
