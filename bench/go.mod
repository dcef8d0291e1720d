// Benchmarks of the library beside the floor of the machine that it runs on. A
// module of their own, so that the library depends on nothing that they need.
module github.com/quorate/quorate/bench

go 1.26.0

require github.com/quorate/quorate v0.0.0

require golang.org/x/sys v0.49.0 // indirect

replace github.com/quorate/quorate => ../
