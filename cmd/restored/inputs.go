package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"restored/daemon"
)

// A target is one file to restore and where its copy goes.
type target struct{ in, out string }

// walkInputs sends each photo below the paths to the channel, which it closes:
// a file as itself, a folder's photos with their paths relative to the folder.
// It stops when ctx ends.
func walkInputs(ctx context.Context, paths []string, out string, targets chan<- target) error {
	defer close(targets)
	send := func(in, rel string) error {
		select {
		case targets <- target{in, filepath.Join(out, rel)}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			if err := send(path, filepath.Base(path)); err != nil {
				return err
			}
			continue
		}
		root, err := filepath.EvalSymlinks(path)
		if err != nil {
			return err
		}
		err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() {
				if p != root && strings.HasPrefix(d.Name(), ".") {
					return filepath.SkipDir
				}
				return nil
			}
			if !d.Type().IsRegular() || strings.HasPrefix(d.Name(), ".") || !isInput(d.Name()) {
				return nil
			}
			rel, err := filepath.Rel(root, p)
			if err != nil {
				return err
			}
			return send(filepath.Join(path, rel), rel)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// checkInputs refuses what would go wrong before anything is done.
func checkInputs(paths []string, out string) error {
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return usageErr("%w", err)
		}
		if info.IsDir() {
			if err := daemon.CheckFolders(path, out); err != nil {
				return usageErr("--out %s: %w; name a folder apart from the originals", out, err)
			}
		} else if samePlace(filepath.Dir(path), out) {
			return usageErr("--out %s is the folder of the originals: name another one", out)
		}
	}
	if info, err := os.Stat(out); err == nil && !info.IsDir() {
		return usageErr("--out %s isn't a folder", out)
	}
	return nil
}

// samePlace says whether both paths are the same existing folder.
func samePlace(a, b string) bool {
	ia, err := os.Stat(a)
	if err != nil {
		return false
	}
	ib, err := os.Stat(b)
	return err == nil && os.SameFile(ia, ib)
}

// countInputs counts what walkInputs sends, for the progress bar.
func countInputs(ctx context.Context, paths []string, out string) (int, error) {
	targets := make(chan target)
	errc := make(chan error, 1)
	go func() { errc <- walkInputs(ctx, paths, out, targets) }()
	n := 0
	for range targets {
		n++
	}
	if err := <-errc; err != nil {
		return n, fmt.Errorf("look for photos: %w", err)
	}
	return n, nil
}
