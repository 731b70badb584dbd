//go:build !linux

package embedpg

import (
	"os/exec"
	"strconv"
	"syscall"
)

// dieWithParent does nothing: only Linux can tie a server to its parent. Elsewhere the next [Start] ends what is left.
func dieWithParent(*syscall.SysProcAttr) {}

// commandLine returns what process pid was started with, empty when there is no such process.
func commandLine(pid int) string {
	line, err := exec.Command("ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return ""
	}
	return string(line)
}
