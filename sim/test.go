package sim

// TB is what Test needs of a *testing.T.
type TB interface {
	Helper()
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Test runs so many seeds after cfg.Seed, and fails at the first that fails: with
// what is broken, and with a script of the faults that it takes, which
// ParseScript and Script.Run make a test of its own.
func Test(t TB, cfg Config, seeds int) {
	t.Helper()
	for range seeds {
		cfg.Seed++
		r := Run(cfg)
		if r.Err == nil {
			continue
		}
		t.Logf("seed %d: %v; looking for a shorter script", cfg.Seed, r.Err)
		script, shrunk := Shrink(cfg, &r, nil)
		if script == nil {
			t.Fatalf("seed %d: %v", cfg.Seed, r.Err)
			return
		}
		t.Fatalf("seed %d: %v\n%v", cfg.Seed, shrunk.Err, script)
		return
	}
}
