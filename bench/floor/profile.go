package main

import (
	"errors"
	"flag"
	"os"
	"runtime"
	"runtime/pprof"
)

// profiles are files to write profiles of the whole run to.
type profiles struct {
	cpu, allocs, block, mutex string
	cpuFile                   *os.File
}

func (p *profiles) flags() {
	flag.StringVar(&p.cpu, "cpuprofile", "", "write a CPU profile to this `file`")
	flag.StringVar(&p.allocs, "allocprofile", "", "write a profile of allocations to this `file`")
	flag.StringVar(&p.block, "blockprofile", "", "write a profile of blocking to this `file`")
	flag.StringVar(&p.mutex, "mutexprofile", "", "write a profile of lock contention to this `file`")
}

func (p *profiles) start() (err error) {
	if p.allocs == "" {
		runtime.MemProfileRate = 0 // it costs a little
	}
	if p.block != "" {
		runtime.SetBlockProfileRate(1)
	}
	if p.mutex != "" {
		runtime.SetMutexProfileFraction(10)
	}
	if p.cpu == "" {
		return nil
	}
	if p.cpuFile, err = os.Create(p.cpu); err != nil {
		return err
	}
	return pprof.StartCPUProfile(p.cpuFile)
}

func (p *profiles) stop() error {
	var errs []error
	if p.cpuFile != nil {
		pprof.StopCPUProfile()
		errs = append(errs, p.cpuFile.Close())
	}
	for _, each := range []struct{ name, file string }{{"allocs", p.allocs}, {"block", p.block}, {"mutex", p.mutex}} {
		if each.file == "" {
			continue
		}
		f, err := os.Create(each.file)
		if err == nil {
			err = errors.Join(pprof.Lookup(each.name).WriteTo(f, 0), f.Close())
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
