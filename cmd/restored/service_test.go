package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"restored/config"
)

const unitFile = "../../systemd/restored.service"

// mostExposure is the worst figure that `systemd-analyze security` may give, of
// 10; what the drop-ins open counts too.
const mostExposure = 1.5

// installUnit puts the unit into a folder as it would be installed, with a
// drop-in unless it is "", and a command that is there.
func installUnit(t *testing.T, dropin string) string {
	t.Helper()
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	unit := filepath.Join(dir, "restored.service")
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(string(text), "/usr/bin/restored", "/bin/true")), 0o644); err != nil {
		t.Fatal(err)
	}
	if dropin != "" {
		data, err := os.ReadFile(dropin)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(unit+".d", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(unit+".d", filepath.Base(dropin)), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return unit
}

var exposure = regexp.MustCompile(`Overall exposure level for restored.service: ([0-9.]+)`)

// The unit and each drop-in are good for systemd, and close what they say. Where
// there is no systemd only what the code reads of them is tested.
func TestUnit(t *testing.T) {
	dropins, err := filepath.Glob("../../systemd/drop-ins/*.conf")
	if err != nil || len(dropins) < 4 {
		t.Fatalf("%d drop-ins, %v", len(dropins), err)
	}
	analyze, lookErr := exec.LookPath("systemd-analyze")
	for _, dropin := range append(dropins, "") {
		t.Run(filepath.Base(dropin), func(t *testing.T) {
			unit := installUnit(t, dropin)
			files := unitFiles([]string{filepath.Dir(unit)}, "restored.service")
			settings := readUnit(files)
			if dropin != "" && len(files) != 2 || settings["ProtectSystem"][0] != "strict" {
				t.Errorf("read %q, %v", files, settings)
			}
			if lookErr != nil {
				t.Log("no systemd-analyze here: the unit's syntax and exposure aren't tested")
				return
			}
			if out, err := exec.Command(analyze, "verify", "--man=no", unit).CombinedOutput(); err != nil || strings.Contains(string(out), "restored.service") {
				t.Errorf("systemd-analyze verify: %v\n%s", err, out)
			}
			out, err := exec.Command(analyze, "security", "--offline=yes", "--no-pager", unit).CombinedOutput()
			found := exposure.FindSubmatch(out)
			if err != nil || found == nil {
				t.Fatalf("systemd-analyze security: %v\n%s", err, out)
			}
			level, err := strconv.ParseFloat(string(found[1]), 64)
			t.Logf("exposure %s", found[1])
			if err != nil || level > mostExposure {
				t.Errorf("exposure %s, at most %g\n%s", found[1], mostExposure, out)
			}
		})
	}
}

// The unit names the paths of the sample configuration and the exit codes that
// no restart mends.
func TestUnitAgrees(t *testing.T) {
	settings := readUnit([]string{unitFile})
	c := config.Default()
	if state := "/var/lib/" + settings["StateDirectory"][0]; state != c.State {
		t.Errorf("StateDirectory is %s, state is %s", state, c.State)
	}
	if got, want := settings["RestartPreventExitStatus"][0], strconv.Itoa(exitUsage)+" "+strconv.Itoa(exitSetup); got != want {
		t.Errorf("RestartPreventExitStatus=%s, want %s", got, want)
	}
	tmpfiles, err := os.ReadFile("../../systemd/tmpfiles.d/restored.conf")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range settings["ReadWritePaths"] {
		if path = strings.TrimLeft(path, "-+"); !strings.Contains(string(tmpfiles), path+" ") {
			t.Errorf("tmpfiles.d doesn't make %s", path)
		}
	}
	users, err := os.ReadFile("../../systemd/sysusers.d/restored.conf")
	if err != nil || !strings.Contains(string(users), "u     "+settings["User"][0]+" ") {
		t.Errorf("sysusers.d doesn't make the user %s: %v", settings["User"], err)
	}
}

func TestClosedBy(t *testing.T) {
	home := t.TempDir()
	unit := readUnit([]string{unitFile})
	for _, test := range []struct {
		settings map[string][]string
		dir      string
		write    bool
		want     string
	}{
		{unit, "/srv/restored/out", true, ""},
		{unit, "/mnt/x", false, ""},
		{unit, "/mnt/x", true, "ProtectSystem=strict without ReadWritePaths=/mnt/x"},
		{unit, "/srv/restoredx", true, "ProtectSystem=strict without ReadWritePaths=/srv/restoredx"},
		{unit, "/home/ann/in", false, "ProtectHome=yes"},
		{unit, "/var/lib/restored/work", true, ""},
		{map[string][]string{"ReadWritePaths": {home}, "ProtectSystem": {"strict"}}, home, true, ""},
		{map[string][]string{"InaccessiblePaths": {home}}, home, false, "InaccessiblePaths="},
		{nil, "/mnt/x", true, ""},
	} {
		if got := closedBy(test.settings, test.dir, test.write); got != test.want {
			t.Errorf("%s, write %v: %q, want %q", test.dir, test.write, got, test.want)
		}
	}
}
