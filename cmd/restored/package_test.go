package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"restored/daemon"
)

// The package looks for the files where the program does, and has all that the unit, the manual and setup/ name.
func TestPackage(t *testing.T) {
	text, err := os.ReadFile("../../packaging/dist.sh")
	if err != nil {
		t.Fatal(err)
	}
	script := string(text)
	var roots []string
	for _, r := range assetRoots() {
		roots = append(roots, strings.TrimPrefix(r, "/"))
	}
	for _, folder := range []string{"usr/lib/restored/onnxruntime", "usr/share/restored/models"} {
		if !strings.Contains(script, folder+"/") || !strings.Contains(strings.Join(roots, " ")+" ", filepath.Dir(folder)+" ") {
			t.Errorf("%s: in packaging/dist.sh and in %q?", folder, roots)
		}
	}
	settings := readUnit([]string{unitFile})
	command := strings.Fields(settings["ExecStart"][0])
	for _, path := range []string{command[0], command[len(command)-1]} {
		if !strings.Contains(script, path[1:]) {
			t.Errorf("the unit names %s, which packaging/dist.sh doesn't install", path)
		}
	}
	sums, err := os.ReadFile("../../setup/files.sha256")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(sums)) {
		name := strings.Fields(line)[1]
		pattern := map[string]string{".so": "onnxruntime/*.so*", ".dat": "models/*.dat"}[filepath.Ext(strings.TrimRight(name, ".0123456789"))]
		if filepath.Dir(name) == "samples" || filepath.Ext(name) == ".txt" || filepath.Base(name) == "LICENSE" {
			continue
		}
		if ok, err := filepath.Match(pattern, name); !ok || err != nil || !strings.Contains(script, ".deps/"+pattern) {
			t.Errorf("%s is fetched and isn't packed (%q): %v", name, pattern, err)
		}
	}
}

// Purging removes what the daemon has made, and nothing else.
func TestPurge(t *testing.T) {
	text, err := os.ReadFile("../../packaging/deb/postrm")
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	state := filepath.Join(root, "var/lib/restored")
	ledger, err := daemon.OpenLedger(t.Context(), state)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ledger.Close() }() // its files are gone
	mine := []string{"srv/restored/in/a.jpg", "usr/share/restored/models/mine.onnx", "var/lib/restored/out/a.jpg", "var/lib/restored/restored.yaml"}
	ours := []string{"srv/restored/out/", "etc/restored/", "var/lib/restored/control.sock", "var/lib/restored/work/17/part.nut", "var/lib/restored/restored.db.damaged-20261124"}
	for _, name := range append(ours, mine...) {
		if name, folder := strings.CutSuffix(name, "/"); folder {
			if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		touch(t, filepath.Join(root, name))
	}
	bin := filepath.Join(root, "bin")
	touch(t, filepath.Join(bin, "systemctl"))
	if err := os.Chmod(filepath.Join(bin, "systemctl"), 0o755); err != nil {
		t.Fatal(err)
	}
	var at []string
	for _, top := range []string{"/var/", "/srv/", "/usr/", "/etc/"} {
		at = append(at, top, root+top)
	}
	cmd := exec.Command("sh", "-c", strings.NewReplacer(at...).Replace(string(text)), "postrm", "purge")
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("postrm purge: %v: %s", err, out)
	}
	if err := os.RemoveAll(bin); err != nil {
		t.Fatal(err)
	}
	var left []string
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			left = append(left, strings.TrimPrefix(path, root+"/"))
		}
		return err
	})
	if err != nil || !slices.Equal(left, mine) {
		t.Errorf("left are %q, want %q: %v", left, mine, err)
	}
	for _, gone := range []string{"srv/restored/out", "etc/restored", "var/lib/restored/work"} {
		if exists(filepath.Join(root, gone)) {
			t.Errorf("%s is left", gone)
		}
	}
}
