package main

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"restored/config"
)

// unitRoots are where systemd looks for units, the strongest first.
var unitRoots = []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

// service looks at systemd: the notify socket, where this is the service, and
// the unit's sandbox, which must leave the folders open.
func (d *doctor) service(_ context.Context, cfg *config.Config) {
	if socket := os.Getenv("NOTIFY_SOCKET"); socket != "" {
		conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: strings.Replace(socket, "@", "\x00", 1), Net: "unixgram"})
		if err != nil {
			d.add("systemd", stateFail, "the unit needs Type=notify, NotifyAccess=main and AF_UNIX in RestrictAddressFamilies", "the notify socket can't be reached: %v", err)
		} else {
			d.add("systemd", stateOK, "", "the notify socket is reached")
			_ = conn.Close() // nothing was written
		}
	}
	files := unitFiles(unitRoots, "restored.service")
	if len(files) == 0 {
		d.add("systemd", stateNote, "systemd/ in the sources has a unit, and docs/operations.md says how it is installed", "restored isn't installed as a service")
		return
	}
	settings := readUnit(files)
	d.add("systemd", stateOK, "", "the unit is %s", strings.Join(files, " with "))
	d.network(cfg, settings)
	for _, w := range cfg.Watch {
		for _, at := range []struct {
			dir   string
			write bool
		}{{w.In, w.Originals != "keep"}, {w.Out, true}, {w.OriginalsTo, true}} {
			if at.dir == "" {
				continue
			}
			if closed := closedBy(settings, at.dir, at.write); closed != "" {
				d.add("systemd sandbox", stateFail, "systemctl edit restored, and add what systemd/drop-ins/folders.conf shows for it", "the service can't use %s: %s", at.dir, closed)
			}
		}
	}
}

// unitFiles finds a unit and its drop-ins, in the order in which they count.
func unitFiles(roots []string, unit string) []string {
	var files []string
	for _, root := range roots {
		if path := filepath.Join(root, unit); exists(path) {
			files = append(files, path)
			break
		}
	}
	if len(files) == 0 {
		return nil
	}
	names := map[string]string{}
	for _, root := range slices.Backward(roots) {
		dropins, err := filepath.Glob(filepath.Join(root, unit+".d", "*.conf"))
		if err != nil {
			continue // the pattern is ours and good
		}
		for _, f := range dropins {
			names[filepath.Base(f)] = f
		}
	}
	var sorted []string
	for name := range names {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	for _, name := range sorted {
		files = append(files, names[name])
	}
	return files
}

// readUnit reads the settings of unit files: lists for the paths, the last value
// for the others. An empty value clears what was before.
func readUnit(files []string) map[string][]string {
	settings := map[string][]string{}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			continue
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			key, value, ok := strings.Cut(strings.TrimSpace(lines.Text()), "=")
			if !ok || strings.HasPrefix(key, "#") {
				continue
			}
			key, value = strings.TrimSpace(key), strings.TrimSpace(value)
			switch {
			case value == "":
				delete(settings, key)
			case strings.HasSuffix(key, "Paths"):
				settings[key] = append(settings[key], strings.Fields(value)...)
			default:
				settings[key] = []string{value}
			}
		}
		f.Close()
	}
	return settings
}

// closedBy says which setting of the unit closes a folder to the service; "" if
// none does.
func closedBy(settings map[string][]string, dir string, write bool) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil || !errors.Is(err, fs.ErrNotExist) && real != "" {
		abs = real
	}
	under := func(list []string) bool {
		return slices.ContainsFunc(list, func(p string) bool {
			p = strings.TrimLeft(p, "-+!")
			return abs == p || strings.HasPrefix(abs, strings.TrimSuffix(p, "/")+"/")
		})
	}
	last := func(key string) string {
		if v := settings[key]; len(v) > 0 {
			return v[len(v)-1]
		}
		return ""
	}
	opened := under(settings["ReadWritePaths"]) || under(settings["BindPaths"])
	home := under([]string{"/home", "/root", "/run/user"})
	if protect := last("ProtectHome"); home && slices.Contains([]string{"yes", "true", "tmpfs"}, protect) {
		return "ProtectHome=" + protect
	}
	if under(settings["InaccessiblePaths"]) {
		return "InaccessiblePaths="
	}
	if write && last("ProtectSystem") == "strict" && !opened && !under([]string{"/var/lib/restored"}) {
		return "ProtectSystem=strict without ReadWritePaths=" + abs
	}
	return ""
}
