package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
)

func TestSim(t *testing.T) {
	for _, test := range []struct {
		args     string
		code     int
		out, err string // parts of what is printed
	}{
		{"--seeds 3 --from 7", exitOK, "3 seeds from 7", ""},
		{"--seed 7", exitOK, "no property was broken", ""},
		{"--seed 7 --trace", exitOK, "leader of term", ""},
		{"--seeds 2 --machine store", exitOK, "whole store compared", ""},
		{"--seed 1 --machine abacus", exitUsage, "", "registers or store"},
		{"--help", exitOK, "", "The same seed is the same run"},
		{"", exitUsage, "", "either --seeds N or --seed S"},
		{"--seed 1 --seeds 2", exitUsage, "", "either --seeds N or --seed S"},
		{"--seeds 2 --trace", exitUsage, "", "--trace goes with --seed"},
		{"run --seeds 1 --from 7", exitOK, "1 seeds from 7", ""},
		{"run", exitUsage, "", "run takes --seeds N"},
		{"replay 7 --light", exitOK, "no property was broken", ""},
		{"replay --trace --light 7", exitOK, "leader of term", ""},
		{"replay", exitUsage, "", "replay takes one seed"},
		{"replay nowhere", exitUsage, "", "no seed, and no file"},
		{"replay testdata/partition.sim", exitOK, "no property was broken", ""},
		{"replay sim.go", exitUsage, "", "begins no line of a script"},
		{"shrink 7 --light", exitFailed, "", "nothing to shrink"},
		{"--seeds many", exitUsage, "", "invalid value"},
	} {
		var stdout, stderr bytes.Buffer
		code := runSim(context.Background(), strings.Fields(test.args), &stdout, &stderr)
		if code != test.code || !strings.Contains(stdout.String(), test.out) || !strings.Contains(stderr.String(), test.err) {
			t.Errorf("sim %s: exit code %d, want %d; printed\n%s\n%s", test.args, code, test.code, &stdout, &stderr)
		}
	}
}

// However many run at once, the summary is the same.
func TestSimJSON(t *testing.T) {
	var hashes []string
	for _, workers := range []string{"1", "3"} {
		var stdout, stderr bytes.Buffer
		args := []string{"--seeds", "5", "--workers", workers, "--json"}
		if code := runSim(context.Background(), args, &stdout, &stderr); code != exitOK {
			t.Fatalf("exit code %d: %s", code, &stderr)
		}
		var s simSummary
		if err := json.Unmarshal(stdout.Bytes(), &s); err != nil {
			t.Fatal(err)
		}
		if s.Seeds != 5 || s.Events == 0 || len(s.Failed) > 0 || s.Coverage["leader elected"] == 0 {
			t.Errorf("%d workers: %+v", len(hashes), s)
		}
		hashes = append(hashes, s.Hash)
	}
	if hashes[0] != hashes[1] {
		t.Errorf("hashes %v", hashes)
	}
}
