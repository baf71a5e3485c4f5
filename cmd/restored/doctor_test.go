package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"restored/config"
)

// checked runs one check and returns what it found, a line each.
func checked(check func(*doctor)) string {
	d := &doctor{w: io.Discard}
	check(d)
	var lines []string
	for _, f := range d.findings {
		lines = append(lines, f.State+" "+f.Check+": "+f.Detail+" → "+f.Advice)
	}
	return strings.Join(lines, "\n")
}

func TestDoctorFolders(t *testing.T) {
	dir := t.TempDir()
	in, out, link := filepath.Join(dir, "in"), filepath.Join(dir, "out"), filepath.Join(dir, "link")
	for _, d := range []string{in, out} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(in, link); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	touch(t, file)
	for _, test := range []struct {
		watch []config.Watch
		want  string
		state string
	}{
		{nil, "none is configured", "note"},
		{[]config.Watch{{In: in, Out: out}}, "no folder of inputs lies within", "ok"},
		{[]config.Watch{{In: in, Out: filepath.Join(dir, "new", "out")}}, "isn't there yet and can be made", "ok"},
		{[]config.Watch{{In: filepath.Join(dir, "gone"), Out: out}}, "isn't there", "fail"},
		{[]config.Watch{{In: file, Out: out}}, "is no folder", "fail"},
		{[]config.Watch{{In: in, Out: link}}, "outputs would be taken as inputs", "fail"},
		{[]config.Watch{{In: in, Out: out}, {In: out, Out: filepath.Join(dir, "x")}}, "outputs would be taken as inputs", "fail"},
		{[]config.Watch{{In: dir, Out: out}}, "outputs would be taken as inputs", "fail"},
		{[]config.Watch{{In: in, Out: file}}, "not a directory", "fail"},
		{[]config.Watch{{In: in, Out: "/proc/1"}}, "/proc/1", "fail"},
	} {
		got := checked(func(d *doctor) { d.folders(t.Context(), &config.Config{Watch: test.watch}) })
		found := false
		for line := range strings.SplitSeq(got, "\n") {
			found = found || strings.HasPrefix(line, test.state+" ") && strings.Contains(line, test.want)
		}
		if !found || test.state != "fail" && strings.Contains(got, "fail ") {
			t.Errorf("%v: want a %s with %q, found\n%s", test.watch, test.state, test.want, got)
		}
	}
	if entries, err := os.ReadDir(out); err != nil || len(entries) > 0 {
		t.Errorf("left behind %v, %v", entries, err)
	}
}

func TestDoctorState(t *testing.T) {
	dir := t.TempDir()
	cfg := &config.Config{State: dir}
	look := func() string { return checked(func(d *doctor) { d.state(t.Context(), cfg) }) }
	if got := look(); !strings.Contains(got, "ok state: "+dir+" can be written") {
		t.Error(got)
	}
	lock, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if got := look(); !strings.Contains(got, "ok state lock: no other restored") {
		t.Error(got)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if got := look(); !strings.Contains(got, "note state lock: a restored is running") {
		t.Error(got)
	}
	cfg.State = filepath.Join(dir, "lock")
	if got := look(); !strings.Contains(got, "fail state: ") {
		t.Error(got)
	}
}

func TestDoctorInotifyAndSpace(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	cfg := &config.Config{Watch: []config.Watch{{In: dir, Out: dir}}, State: dir}
	if got := checked(func(d *doctor) { d.inotify(t.Context(), cfg) }); !strings.Contains(got, "3 folders to watch") {
		t.Error(got)
	}
	if got := checked(func(d *doctor) { d.space(t.Context(), cfg) }); strings.Count(got, "are free on") != 1 {
		t.Errorf("one disk: %s", got)
	}
	cfg.Disk.Reserve = 1 << 50
	if got := checked(func(d *doctor) { d.space(t.Context(), cfg) }); !strings.Contains(got, "fail space for") || !strings.Contains(got, "disk.reserve") {
		t.Error(got)
	}
}

func TestDoctorService(t *testing.T) {
	unit := installUnit(t, "../../systemd/drop-ins/folders.conf")
	old := unitRoots
	unitRoots = []string{filepath.Dir(unit)}
	defer func() { unitRoots = old }()
	look := func(out string) string {
		cfg := &config.Config{Watch: []config.Watch{{In: "/srv/restored/in", Out: out}}}
		return checked(func(d *doctor) { d.service(t.Context(), cfg) })
	}
	if got := look("/mnt/archive/restored/x"); strings.Contains(got, "fail") || !strings.Contains(got, "folders.conf") {
		t.Error(got)
	}
	if got := look("/mnt/other"); !strings.Contains(got, "fail systemd sandbox") || !strings.Contains(got, "ReadWritePaths=/mnt/other") {
		t.Error(got)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "none"))
	if got := look("/srv/restored/out"); !strings.Contains(got, "fail systemd: the notify socket can't be reached") {
		t.Error(got)
	}
	unitRoots = []string{t.TempDir()}
	if got := look("/mnt/other"); !strings.Contains(got, "note systemd: restored isn't installed") {
		t.Error(got)
	}
}

// What the sandbox doesn't let through, or nobody can run, is told.
func TestDoctorNotify(t *testing.T) {
	cfg := &config.Config{Notify: config.Notify{URL: "https://example.org/", OnDone: []string{"/bin/sh"}, OnFailed: []string{"/bin/none"}}}
	got := checked(func(d *doctor) { d.notify(t.Context(), cfg) })
	for _, want := range []string{"ok notices: /bin/sh can be run", "fail notices: /bin/none can't be run", "note notices: what is posted to notify.url isn't signed"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	unit := installUnit(t, "../../systemd/drop-ins/folders.conf")
	old := unitRoots
	unitRoots = []string{filepath.Dir(unit)}
	defer func() { unitRoots = old }()
	look := func() string { return checked(func(d *doctor) { d.service(t.Context(), cfg) }) }
	if got := look(); !strings.Contains(got, "fail systemd sandbox: notify.url needs the network") {
		t.Error(got)
	}
	unitRoots = []string{filepath.Dir(installUnit(t, "../../systemd/drop-ins/network.conf"))}
	if got := look(); strings.Contains(got, "needs the network") {
		t.Error(got)
	}
}

// The checksums that doctor knows are those that are fetched.
func TestDlibHashes(t *testing.T) {
	data, err := os.ReadFile("../../setup/files.sha256")
	if err != nil {
		t.Fatal(err)
	}
	for name, sum := range dlibHashes {
		if !strings.Contains(string(data), sum+"  models/"+name+"\n") {
			t.Errorf("setup/files.sha256 says otherwise of %s", name)
		}
	}
}

// An encoder that hangs or crashes is told, and the next ones are tried.
func TestEncodersInAChild(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "child")
	text := `#!/bin/sh
shift 2
for name in "$@"; do
	echo "chatter of a library"
	case $name in
	hangs) exec sleep 60 ;;
	crashes) kill -SEGV $$ ;;
	bad) echo "bad isn't in this FFmpeg" ;;
	*) echo "$name ok" ;;
	esac
done
`
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	e := encoderTry{exe: script, clip: "x", patience: 300 * time.Millisecond}
	var got []string
	for _, s := range e.all(t.Context(), []string{"a", "hangs", "bad", "crashes", "z"}) {
		got = append(got, s.name+": "+s.says)
	}
	want := []string{"a: ok", "hangs: it didn't open within 300ms", "bad: isn't in this FFmpeg", "crashes: signal: segmentation fault", "z: ok"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// Where no bar can be drawn, a line tells now and then how far a run is.
func TestProgressInAPipe(t *testing.T) {
	var b bytes.Buffer
	p := newProgress(&b, 5)
	p.step("a.jpg")
	p.told = p.told.Add(-time.Minute)
	p.step("b.jpg")
	p.step("c.jpg")
	p.close()
	if got := b.String(); got != "2 of 5 files\n" {
		t.Errorf("%q", got)
	}
}

func TestPainter(t *testing.T) {
	var b bytes.Buffer
	if got := painter(&b)(red, "x"); got != "x" {
		t.Errorf("a pipe is coloured: %q", got)
	}
}
