package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"restored/config"
)

// root is one watched folder with its output folder, both absolute and free of
// links.
type root struct {
	filter
	in, out   string
	outName   func(rel string) string
	poll      bool   // no inotify
	profile   string // "" = none
	originals string // keep, move or delete
	to        string // where they are moved to
}

// openRoots resolves the watched folders, makes output folders that are
// missing and refuses what could feed outputs back as inputs.
func openRoots(watch []config.Watch, state string, outName func(string) string) ([]root, error) {
	if len(watch) == 0 {
		return nil, errors.New("no folder to watch: set watch in the configuration file")
	}
	roots := make([]root, len(watch))
	for i, w := range watch {
		in, err := resolve(w.In)
		if err == nil {
			err = isFolder(in)
		}
		if err != nil {
			return nil, fmt.Errorf("watch[%d].in: %w", i, err)
		}
		roots[i] = root{filter: newFilter(w.Recursive, w.Include, w.Exclude), in: in, outName: outName, poll: w.Poll, profile: w.Profile, originals: w.Originals}
	}
	for i, w := range watch {
		out, err := resolve(w.Out)
		if err != nil {
			return nil, fmt.Errorf("watch[%d].out: %w", i, err)
		}
		for j, r := range roots {
			if err := apart(r.in, out); err != nil {
				return nil, fmt.Errorf("watch[%d].in and watch[%d].out: %w", j, i, err)
			}
			if err := apart(roots[i].in, r.in); i != j && err != nil {
				return nil, fmt.Errorf("watch[%d].in and watch[%d].in: %w", i, j, err)
			}
		}
		if inside, err := within(roots[i].in, state); err != nil || inside {
			return nil, errors.Join(err, fmt.Errorf("watch[%d].in: %s lies within the state folder", i, roots[i].in))
		}
		if err := os.MkdirAll(out, 0o777); err != nil {
			return nil, fmt.Errorf("watch[%d].out: %w", i, err)
		}
		roots[i].out = out
	}
	for i, w := range watch {
		if err := roots[i].openTo(w.OriginalsTo, state, roots); err != nil {
			return nil, fmt.Errorf("watch[%d].originals_to: %w", i, err)
		}
	}
	return roots, nil
}

// openTo resolves the folder that originals are moved to, and makes it if it is
// missing. It lies apart from all that is watched, from the results and the state.
func (r *root) openTo(dir, state string, roots []root) error {
	if r.originals != "move" {
		return nil
	}
	to, err := resolve(dir)
	if err != nil {
		return err
	}
	others := []string{state}
	for _, other := range roots {
		others = append(others, other.in, other.out)
	}
	for _, other := range others {
		if err := apart(other, to); err != nil {
			return err
		}
	}
	r.to = to
	return os.MkdirAll(to, 0o777)
}

// CheckFolders refuses an output folder that is, contains or lies within the
// folder of the inputs, also by links. The output folder need not exist.
func CheckFolders(in, out string) error {
	realIn, err := resolve(in)
	if err != nil {
		return err
	}
	realOut, err := resolve(out)
	if err != nil {
		return err
	}
	return apart(realIn, realOut)
}

// apart refuses two folders of which one is or contains the other.
func apart(a, b string) error {
	for _, pair := range [][2]string{{a, b}, {b, a}} {
		inside, err := within(pair[0], pair[1])
		if err != nil {
			return err
		}
		if inside {
			return fmt.Errorf("%s is or lies within %s: outputs would be taken as inputs", pair[0], pair[1])
		}
	}
	return nil
}

// resolve makes a path absolute and follows its links, as far as it exists.
func resolve(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	rest := ""
	for at := abs; ; at = filepath.Dir(at) {
		found, err := filepath.EvalSymlinks(at)
		if err == nil {
			return filepath.Join(found, rest), nil
		}
		if _, lerr := os.Lstat(at); lerr == nil || !errors.Is(err, fs.ErrNotExist) || at == filepath.Dir(at) {
			return "", err // a dangling link, no permission, …
		}
		rest = filepath.Join(filepath.Base(at), rest)
	}
}

// within tells whether a resolved path is a folder or lies in it. It compares
// the folders themselves, not their names, and so sees bind mounts too.
func within(path, folder string) (bool, error) {
	want, err := os.Stat(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // nothing can lie in it yet
	}
	if err != nil {
		return false, err
	}
	for {
		info, err := os.Stat(path)
		if err == nil && os.SameFile(info, want) {
			return true, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		parent := filepath.Dir(path)
		if parent == path {
			return false, nil
		}
		path = parent
	}
}

func isFolder(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is no folder", path)
	}
	return err
}

// plan gives the output path for a file below the root.
func (r root) plan(path string) (string, error) {
	rel, err := filepath.Rel(r.in, path)
	if err != nil {
		return "", err
	}
	name := rel
	if r.outName != nil {
		name = r.outName(rel)
	}
	if !filepath.IsLocal(rel) || !filepath.IsLocal(name) {
		return "", fmt.Errorf("%s has no place under %s", path, r.out)
	}
	return filepath.Join(r.out, name), nil
}

// rel is a path below the root relative to it.
func (r root) rel(path string) string {
	if path == r.in {
		return "."
	}
	return strings.TrimPrefix(path, strings.TrimSuffix(r.in, "/")+"/")
}

// rootOf finds the root that a path is or lies under, by name.
func rootOf(roots []root, path string) (root, bool) {
	for _, r := range roots {
		if path == r.in || strings.HasPrefix(path, strings.TrimSuffix(r.in, "/")+"/") {
			return r, true
		}
	}
	return root{}, false
}

// makeDirs makes the folders between top, which must exist, and dir, and sees
// each of them onto the disk. A link on the way is refused: it could lead
// outputs back to the inputs.
func makeDirs(top, dir string) error {
	if err := isFolder(top); err != nil {
		return Transient(fmt.Errorf("output folder: %w", err)) // a mount that has gone, perhaps
	}
	rel, err := filepath.Rel(top, dir)
	if err != nil || rel == "." {
		return err
	}
	at := top
	for part := range strings.SplitSeq(rel, "/") {
		parent := at
		at = filepath.Join(at, part)
		err := os.Mkdir(at, 0o777)
		if err == nil {
			if err = syncDir(parent); err != nil {
				return err
			}
			continue
		}
		if !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("output folder: %w", err)
		}
		if info, err := os.Lstat(at); err != nil || !info.IsDir() {
			return errors.Join(err, fmt.Errorf("output folder: %s is a link or no folder", at))
		}
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
