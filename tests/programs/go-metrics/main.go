// Command go-metrics says on each line of its standard input what its runtime counts, as runtime/metrics has it: a name and a figure a line, of a distribution how many it has. Its argument is how many goroutines it
// has that wait.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
)

var names = []string{
	"/sched/goroutines:goroutines",
	"/sched/gomaxprocs:threads",
	"/memory/classes/total:bytes",
	"/memory/classes/heap/released:bytes",
	"/memory/classes/heap/stacks:bytes",
	"/gc/gomemlimit:bytes",
	"/gc/heap/goal:bytes",
	"/gc/gogc:percent",
	"/gc/heap/allocs:bytes",
	"/gc/heap/allocs:objects",
	"/gc/cycles/total:gc-cycles",
	"/gc/pauses:seconds",
}

var kept [][]byte

func main() {
	count, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	// As many again have been there, and are kept for later.
	gone := make(chan struct{})
	for range make([]struct{}, count) {
		go func() { <-gone }()
	}
	close(gone)
	for range make([]struct{}, count) {
		go func() { select {} }()
	}
	for range make([]struct{}, 64) {
		kept = append(kept, make([]byte, 1<<16))
	}
	runtime.GC()
	samples := make([]metrics.Sample, len(names))
	for at, name := range names {
		samples[at].Name = name
	}
	input := bufio.NewReader(os.Stdin)
	fmt.Println("ready")
	for {
		if _, err := input.ReadString('\n'); err != nil {
			return
		}
		metrics.Read(samples)
		for _, sample := range samples {
			if sample.Value.Kind() == metrics.KindUint64 {
				fmt.Println(sample.Name, sample.Value.Uint64())
				continue
			}
			all := uint64(0)
			for _, count := range sample.Value.Float64Histogram().Counts {
				all += count
			}
			fmt.Println(sample.Name, all)
		}
		fmt.Println("done")
	}
}
