package testkit

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// CPUSeconds is the CPU time that this process and everything it started, PostgreSQL above all, have used so far: for benchmarks,
// on Linux.
func CPUSeconds(tb testing.TB) float64 {
	tb.Helper()
	var self syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &self); err != nil {
		tb.Fatal(err)
	}
	seconds := time.Duration(self.Utime.Nano() + self.Stime.Nano()).Seconds()
	parents, ticks := map[int]int{}, map[int]float64{}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		tb.Fatal(err)
	}
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue // It has ended meanwhile.
		}
		pid, _ := strconv.Atoi(strings.Split(stat, "/")[2])
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+2:]))
		parents[pid], _ = strconv.Atoi(fields[1])
		for _, field := range fields[11:15] { // utime, stime, and those of ended children
			n, _ := strconv.ParseFloat(field, 64)
			ticks[pid] += n / 100
		}
	}
	for pid := range parents {
		for up := parents[pid]; up > 1; up = parents[up] {
			if up == os.Getpid() {
				seconds += ticks[pid]
				break
			}
		}
	}
	return seconds
}
