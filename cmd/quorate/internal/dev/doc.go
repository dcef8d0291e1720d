// Package dev runs a cluster of servers on this machine, each a process of its
// own, tells what happens to them, and does to them what another terminal asks.
// It restarts nothing by itself.
package dev
