package embedpg

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// dieWithParent makes the kernel ask the server for a fast shutdown when we end without doing so.
func dieWithParent(attr *syscall.SysProcAttr) {
	attr.Pdeathsig = syscall.SIGINT
}

// commandLine returns what process pid was started with, empty when there is no such process.
func commandLine(pid int) string {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(string(line), "\x00", " ")
}
