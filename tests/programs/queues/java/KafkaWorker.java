import java.net.HttpURLConnection;
import java.net.URI;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Deals with messages of Kafka on the thread that fetches them: asks a service about each. Usage: PORT of the broker, PORT of the service.
 *
 * <p>It says `ready`, and on a line of its standard input fetches in vain for a while, then has ten messages, one after the other, and
 * three at once, and says `done`.
 */
public final class KafkaWorker {
  private static final String TOPIC = "work";

  private KafkaWorker() {}

  public static void main(String[] arguments) throws Exception {
    String at = "127.0.0.1:" + arguments[0];
    System.out.println("ready");
    System.in.read();
    Map<String, Object> sends = Map.of("bootstrap.servers", at, "linger.ms", 50);
    Map<String, Object> fetches =
        Map.of("bootstrap.servers", at, "group.id", "workers", "enable.auto.commit", false, "fetch.max.wait.ms", 50);
    try (var producer = new KafkaProducer<>(sends, new StringSerializer(), new StringSerializer());
        var consumer = new KafkaConsumer<>(fetches, new StringDeserializer(), new StringDeserializer())) {
      producer.send(new ProducerRecord<>(TOPIC, 0, null, "before")).get();
      consumer.assign(List.of(new TopicPartition(TOPIC, 0)));
      consumer.seekToEnd(consumer.assignment());
      for (int nth = 0; nth < 5; nth++) {
        if (!consumer.poll(Duration.ofMillis(120)).isEmpty()) {
          throw new IllegalStateException("nothing was sent yet");
        }
      }
      for (int nth = 0; nth < 10; nth++) {
        producer.send(new ProducerRecord<>(TOPIC, 0, null, "one-" + nth)).get();
        deal(consumer, 1, arguments[1]);
      }
      for (int nth = 0; nth < 3; nth++) {
        producer.send(new ProducerRecord<>(TOPIC, 0, null, "three-" + nth));
      }
      producer.flush();
      deal(consumer, 3, arguments[1]);
      System.out.println("done");
      System.in.read();
      System.in.read();
    }
  }

  private static void deal(KafkaConsumer<String, String> consumer, int count, String service) throws Exception {
    for (int left = count; left > 0; ) {
      for (ConsumerRecord<String, String> message : consumer.poll(Duration.ofSeconds(1))) {
        URI address = URI.create("http://127.0.0.1:" + service + "/echo?order=" + message.value());
        var call = (HttpURLConnection) address.toURL().openConnection();
        call.getInputStream().readAllBytes();
        left--;
      }
      consumer.commitSync();
    }
  }
}
