package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// assets are the native files that the binary needs beside itself.
type assets struct {
	onnxruntime string // the shared library
	models      string // the folder of dlib's models and of further restorers
}

// findAssets looks for the libraries and the models in the folders that the
// configuration names or, where it names none, relative to the binary: as
// installed (PREFIX/bin beside PREFIX/lib/restored and PREFIX/share/restored) or
// as built (bin beside .deps).
func findAssets(libraries, models string) (assets, error) {
	roots := assetRoots()
	var a assets
	var errs []error
	libs, err := first(libraries, roots, "onnxruntime", "libonnxruntime.so*")
	if err != nil {
		errs = append(errs, fmt.Errorf("ONNX Runtime's libonnxruntime.so: %w; set paths.libraries or run `make setup`", err))
	} else {
		a.onnxruntime = slices.Max(libs)
	}
	if a.models, err = findModels(models); err != nil {
		errs = append(errs, err)
	}
	return a, errors.Join(errs...)
}

// findModels is the part of findAssets that finds the folder of models.
func findModels(named string) (string, error) {
	dats, err := first(named, assetRoots(), "models", "*.dat")
	if err != nil {
		return "", fmt.Errorf("dlib's models: %w; set paths.models or run `make setup`", err)
	}
	return filepath.Dir(dats[0]), nil
}

// assetRoots are the folders that may hold assets.
func assetRoots() []string {
	var roots []string
	if exe, err := os.Executable(); err == nil {
		if exe, err = filepath.EvalSymlinks(exe); err == nil {
			top := filepath.Dir(filepath.Dir(exe))
			roots = append(roots, filepath.Join(top, "lib", "restored"), filepath.Join(top, "share", "restored"), filepath.Join(top, ".deps"))
		}
	}
	return append(roots, "/usr/lib/restored", "/usr/share/restored")
}

// first returns the files that fit the pattern in the named folder or, if
// none is named, in the first of roots/sub that has any.
func first(named string, roots []string, sub, pattern string) ([]string, error) {
	folders := []string{named}
	if named == "" {
		folders = nil
		for _, r := range roots {
			folders = append(folders, filepath.Join(r, sub))
		}
	}
	for _, f := range folders {
		if files, err := filepath.Glob(filepath.Join(f, pattern)); err == nil && len(files) > 0 {
			return files, nil
		}
	}
	return nil, fmt.Errorf("nothing like %s in %q", pattern, folders)
}
