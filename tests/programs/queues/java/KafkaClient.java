import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * A client of Kafka (its own) at the port of the first argument, for the topic of the second: in the newest versions of all
 * requests.
 *
 * <p>It connects, says `ready`, and on a line of its standard input sends and fetches, says `sent N` and `received N`, and
 * `done`.
 */
public final class KafkaClient {
  private static final String CONTEXT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

  private KafkaClient() {}

  public static void main(String[] arguments) throws Exception {
    String at = "127.0.0.1:" + arguments[0];
    String topic = arguments[1];
    Map<String, Object> sends =
        Map.of("bootstrap.servers", at, "client.id", "mill", "linger.ms", 50, "compression.type", "gzip");
    Map<String, Object> fetches =
        Map.of("bootstrap.servers", at, "client.id", "weigh", "group.id", "group-" + topic, "enable.auto.commit", false);
    try (var producer = new KafkaProducer<>(sends, new StringSerializer(), new StringSerializer());
        var consumer = new KafkaConsumer<>(fetches, new StringDeserializer(), new StringDeserializer())) {
      producer.send(new ProducerRecord<>(topic, 0, null, "secret")).get();
      System.out.println("ready");
      System.in.read();
      consumer.assign(List.of(new TopicPartition(topic, 0), new TopicPartition(topic, 1)));
      consumer.seekToBeginning(consumer.assignment());
      int received = 0;
      while (received == 0) {
        received += consumer.poll(Duration.ofSeconds(1)).count();
      }
      int sent = 0;
      for (; sent < 10; sent++) {
        producer.send(new ProducerRecord<>(topic, 0, "secret-key", "secret-" + sent)).get();
      }
      List<Future<RecordMetadata>> batch = new ArrayList<>();
      for (int number = 0; number < 30; number++) {
        batch.add(producer.send(new ProducerRecord<>(topic, 1, null, "secret-" + number)));
      }
      for (Future<RecordMetadata> future : batch) {
        future.get();
        sent++;
      }
      ProducerRecord<String, String> record = new ProducerRecord<>(topic, 0, null, "secret");
      record.headers().add("traceparent", CONTEXT.getBytes(StandardCharsets.UTF_8));
      producer.send(record).get();
      sent++;
      try {
        producer.send(new ProducerRecord<>("no such topic!", 0, null, "secret")).get();
        throw new IllegalStateException("that should fail");
      } catch (ExecutionException | org.apache.kafka.common.errors.InvalidTopicException expected) {
        // The broker is not even asked to take it.
      }
      while (received < sent + 1) {
        received += consumer.poll(Duration.ofSeconds(1)).count();
      }
      consumer.commitSync();
      System.out.println("sent " + sent);
      System.out.println("received " + received);
      System.out.println("done");
      System.in.read();
      System.in.read();
    }
  }
}
