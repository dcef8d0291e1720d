// Command seeds runs seeds of the simulator, one after the other, until one
// fails, and tells in a line of JSON which. It is built with a planted bug in it.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/quorate/quorate/sim"
)

func main() {
	seeds := flag.Uint64("seeds", 100, "how many at most")
	judge := flag.String("judge", "sim", "who judges: sim or clients")
	flag.Parse()
	debug.SetGCPercent(400)
	var report struct {
		Seeds  uint64 `json:"seeds"`
		Failed uint64 `json:"failed"`
		Error  string `json:"error"`
	}
	for seed := uint64(1); seed <= *seeds && report.Error == ""; seed++ {
		report.Seeds++
		if err := run(seed, *judge); err != nil {
			report.Failed, report.Error = seed, err.Error()
		}
	}
	line, err := json.Marshal(report)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
	if report.Error != "" {
		os.Exit(1)
	}
}

func run(seed uint64, judge string) error {
	switch judge {
	case "sim":
		r := sim.Run(sim.Config{Seed: seed})
		return r.Err
	case "clients":
		r := sim.Run(sim.Config{Seed: seed, ClientsOnly: true})
		return r.Err
	}
	return fmt.Errorf("nobody is called %q", judge)
}
