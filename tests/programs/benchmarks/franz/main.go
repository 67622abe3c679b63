// Sends messages to a topic of Kafka with franz-go, one by one and as they come, receives them as a group's only member, and says how
// many of each there were.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
)

const oneByOne = 10

func main() {
	address, topic := os.Args[1], os.Args[2]
	count, err := strconv.Atoi(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	producer := client(kgo.SeedBrokers(address), kgo.DefaultProduceTopic(topic), kgo.AllowAutoTopicCreation())
	for nth := range oneByOne {
		if err := producer.ProduceSync(ctx, message(nth)).FirstErr(); err != nil {
			log.Fatal(err)
		}
	}
	for nth := oneByOne; nth < count; nth++ {
		producer.Produce(ctx, message(nth), func(_ *kgo.Record, err error) {
			if err != nil {
				log.Fatal(err)
			}
		})
	}
	if err := producer.Flush(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("sent", count)
	consumer := client(kgo.SeedBrokers(address), kgo.ConsumeTopics(topic), kgo.ConsumerGroup("franz"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())
	received := 0
	for received < count {
		fetches := consumer.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			log.Fatal(err)
		}
		received += fetches.NumRecords()
	}
	if err := consumer.CommitUncommittedOffsets(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("received", received)
	producer.Close()
	consumer.Close()
}

func client(options ...kgo.Opt) *kgo.Client {
	made, err := kgo.NewClient(options...)
	if err != nil {
		log.Fatal(err)
	}
	return made
}

func message(nth int) *kgo.Record {
	return &kgo.Record{Value: []byte(fmt.Sprintf("message %d", nth))}
}
