package main

import (
	"bufio"
	"os"
	"path"
	"strconv"
	"strings"
)

// memoryShare is what each of so many workers may hold of three quarters of the
// memory that this process and its children can have, from 2 to 16 GiB.
func memoryShare(workers int) int64 {
	total := machineMemory("/proc/meminfo")
	if n := groupMemory("/proc/self/cgroup", "/sys/fs/cgroup"); n > 0 && n < total {
		total = n
	}
	return min(max(total/4*3/int64(workers), 2<<30), 16<<30)
}

// machineMemory is the machine's memory in bytes; 0 = unknown.
func machineMemory(meminfo string) int64 {
	f, err := os.Open(meminfo)
	if err != nil {
		return 0
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 3 && fields[0] == "MemTotal:" {
			n, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				return 0
			}
			return n << 10
		}
	}
	return 0
}

// groupMemory is the least limit of the process's control group (version 2)
// and those above it, in bytes; 0 = none.
func groupMemory(own, root string) int64 {
	data, err := os.ReadFile(own)
	if err != nil {
		return 0
	}
	_, group, ok := strings.Cut("\n"+string(data), "\n0::")
	if !ok {
		return 0
	}
	group, _, _ = strings.Cut(group, "\n")
	least := int64(0)
	for group = path.Clean("/" + group); ; group = path.Dir(group) {
		data, err := os.ReadFile(path.Join(root, group, "memory.max"))
		if n, e := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64); err == nil && e == nil && (least == 0 || n < least) {
			least = n
		}
		if group == "/" {
			return least
		}
	}
}
