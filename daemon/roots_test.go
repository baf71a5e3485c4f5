package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"restored/config"
)

func TestOpenRoots(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"in/sub", "in2", "other", "state/in"} {
		if err := os.MkdirAll(filepath.Join(base, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"link-in": "in", "link-sub": "in/sub", "dangling": "nowhere/x"} {
		if err := os.Symlink(filepath.Join(base, target), filepath.Join(base, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(base, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		pairs [][2]string
		want  string // "" = accepted
	}{
		{"apart", [][2]string{{"in", "out"}, {"in2", "out"}}, ""},
		{"by a link", [][2]string{{"link-in", "new/deep/out"}}, ""},
		{"same start of the name", [][2]string{{"in", "in-out"}}, ""},
		{"equal", [][2]string{{"in", "in"}}, "is or lies within"},
		{"equal by a link", [][2]string{{"in", "link-in"}}, "is or lies within"},
		{"out in in", [][2]string{{"in", "in/out"}}, "is or lies within"},
		{"out in in, missing folders", [][2]string{{"in", "in/a/b/c"}}, "is or lies within"},
		{"out in in by a link", [][2]string{{"in", "link-sub/out"}}, "is or lies within"},
		{"in in out", [][2]string{{"in/sub", "in"}}, "is or lies within"},
		{"out in another in", [][2]string{{"in", "out"}, {"in2", "in/sub"}}, "watch[0].in and watch[1].out"},
		{"in in another in", [][2]string{{"in", "out"}, {"in/sub", "out2"}}, "is or lies within"},
		{"in in the state", [][2]string{{"state/in", "out"}}, "within the state folder"},
		{"in missing", [][2]string{{"missing", "out"}}, "no such file"},
		{"in a file", [][2]string{{"file", "out"}}, "no folder"},
		{"out a file", [][2]string{{"in", "file"}}, "not a directory"},
		{"out a dangling link", [][2]string{{"in", "dangling"}}, "no such file"},
		{"none", nil, "no folder to watch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var watch []config.Watch
			for _, p := range c.pairs {
				watch = append(watch, config.Watch{In: filepath.Join(base, p[0]), Out: filepath.Join(base, p[1]), Originals: "keep"})
			}
			roots, err := openRoots(watch, filepath.Join(base, "state"), nil)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("error %v, want %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range roots {
				if err := isFolder(r.out); err != nil {
					t.Error(err)
				}
			}
		})
	}
	if err := CheckFolders(filepath.Join(base, "in"), filepath.Join(base, "link-sub", "x")); err == nil {
		t.Error("CheckFolders accepted an output folder within the inputs")
	}
	if err := CheckFolders(filepath.Join(base, "in"), filepath.Join(base, "fresh")); err != nil {
		t.Error(err)
	}
}

func TestPlanAndMakeDirs(t *testing.T) {
	top := t.TempDir()
	r := root{in: "/in", out: top}
	if got, err := r.plan("/in/a/b.jpg"); err != nil || got != top+"/a/b.jpg" {
		t.Errorf("plan: %s, %v", got, err)
	}
	r.outName = func(string) string { return "../up.jpg" }
	if _, err := r.plan("/in/a.jpg"); err == nil {
		t.Error("a name that leads out of the output folder was accepted")
	}
	if err := makeDirs(top, top+"/a/b"); err != nil || isFolder(top+"/a/b") != nil {
		t.Errorf("makeDirs: %v", err)
	}
	if err := makeDirs(top, top+"/a/b"); err != nil {
		t.Errorf("makeDirs again: %v", err)
	}
	if err := os.Symlink(t.TempDir(), top+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := makeDirs(top, top+"/link/c"); err == nil || IsTransient(err) {
		t.Errorf("through a link: %v", err)
	}
	if err := makeDirs(top+"/gone", top+"/gone/x"); !IsTransient(err) {
		t.Errorf("output folder gone: %v, want an error that may pass", err)
	}
}
