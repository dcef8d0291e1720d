// Package archtest holds the repository to its own structure: who may import
// whom, where time, chance and goroutines may be, and what every file owes its
// reader. It parses source and decides nothing about behaviour; its test runs
// the checks over the whole tree, so that a broken rule is a failed test which
// names the file, the line and the rule.
package archtest
