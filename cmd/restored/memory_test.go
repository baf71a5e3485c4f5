package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMemory(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	if n := machineMemory(write("meminfo", "MemFree: 1 kB\nMemTotal:       24000000 kB\n")); n != 24000000<<10 {
		t.Errorf("MemTotal %d", n)
	}
	for _, none := range []string{write("odd", "MemTotal: many kB\n"), filepath.Join(dir, "none")} {
		if n := machineMemory(none); n != 0 {
			t.Errorf("%s: %d", none, n)
		}
	}

	own := write("cgroup", "1:name=x:/y\n0::/system.slice/restored.service\n")
	if n := groupMemory(own, dir); n != 0 {
		t.Errorf("no limits at all: %d", n)
	}
	write("memory.max", "max\n")
	write("system.slice/memory.max", "4000\n")
	write("system.slice/restored.service/memory.max", "5000\n")
	if n := groupMemory(own, dir); n != 4000 {
		t.Errorf("the least limit is %d, want 4000", n)
	}
	for _, none := range []string{write("v1", "3:memory:/x\n"), filepath.Join(dir, "none")} {
		if n := groupMemory(none, dir); n != 0 {
			t.Errorf("%s: %d", none, n)
		}
	}
	if a, b := memoryShare(1), memoryShare(1000); a < b || b != 2<<30 || a > 16<<30 {
		t.Errorf("shares %d and %d", a, b)
	}
}
