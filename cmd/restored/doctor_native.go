package main

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"restored/config"
	"restored/detect"
	"restored/restore"
)

// dlibHashes are the checksums of dlib's models (setup/files.sha256).
var dlibHashes = map[string]string{
	"dlib_face_recognition_resnet_model_v1.dat": "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
	"mmod_human_face_detector.dat":              "4cb19393e2fbaf2b1609a9319ad5386618c886a6234ec1b971f3e87c85d87fe6",
	"shape_predictor_5_face_landmarks.dat":      "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
}

// native looks at the libraries, the providers and the models.
func (d *doctor) native(ctx context.Context, cfg *config.Config) {
	folder, err := modelsFolder(cfg)
	if err == nil {
		d.dlibModels(folder)
	} else {
		d.add("dlib's models", stateFail, "set paths.models to the folder that holds them", "%v", err)
	}
	libs, err := first(cfg.Paths.Libraries, assetRoots(), "onnxruntime", "libonnxruntime.so*")
	if err != nil {
		d.add("ONNX Runtime", stateFail, "set paths.libraries to the folder of libonnxruntime.so, or run `make setup`", "%v", err)
		return
	}
	library := slices.Max(libs)
	if err := restore.Startup(library); err != nil {
		d.add("ONNX Runtime", stateFail, "install the library for this processor and system again", "%v", err)
		return
	}
	defer func() {
		if err := restore.Shutdown(); err != nil {
			d.add("ONNX Runtime", stateWarn, "", "unloading: %v", err)
		}
	}()
	d.add("ONNX Runtime", stateOK, "", "%s, %s", restore.Version(), library)
	d.providers(cfg)
	d.model(ctx, cfg, folder)
}

func (d *doctor) dlibModels(folder string) {
	bad := 0
	for _, name := range slices.Sorted(maps.Keys(dlibHashes)) {
		path := filepath.Join(folder, name)
		switch sum, err := hashFile(path); {
		case err != nil:
			bad++
			d.add("dlib's models", stateFail, "run `make setup` again, or correct paths.models", "%v", err)
		case sum != dlibHashes[name]:
			bad++
			d.add("dlib's models", stateFail, "the file is damaged or another one: fetch it again (PyPI: face_recognition_models 0.3.0)", "%s has sha256 %.12s…, not %.12s…", path, sum, dlibHashes[name])
		}
	}
	if bad == 0 {
		d.add("dlib's models", stateOK, "", "%d files in %s, checksums match", len(dlibHashes), folder)
	}
}

// providers runs the built-in model on each execution provider.
func (d *doctor) providers(cfg *config.Config) {
	model, err := restore.FindModel(restore.DefaultModel, "")
	if err != nil {
		d.add("built-in model", stateFail, "the binary is damaged: install it again", "%v", err)
		return
	}
	for _, provider := range restore.Providers {
		if provider == "auto" {
			continue
		}
		check := "provider " + provider
		s, err := restore.Open(model, restore.Options{Provider: provider})
		if err == nil {
			d.add(check, stateOK, "", "runs the built-in model")
			err = s.Close()
		}
		switch {
		case err == nil:
		case provider == "cpu":
			d.add(check, stateFail, "install ONNX Runtime again", "%v", err)
		case cfg.Restore.Provider == provider:
			d.add(check, stateFail, "install the GPU build of ONNX Runtime and NVIDIA's driver, or set restore.provider: auto", "configured, but can't run: %v", errors.Unwrap(errors.Unwrap(err)))
		case hasNVIDIA():
			d.add(check, stateWarn, "there is an NVIDIA GPU: with the GPU build of ONNX Runtime in paths.libraries it would be used (under systemd see systemd/drop-ins/nvidia.conf)", "can't run: %v", firstLine(err))
		default:
			d.add(check, stateNote, "", "not here: %v", firstLine(err))
		}
	}
}

// hasNVIDIA says whether NVIDIA's driver is loaded.
func hasNVIDIA() bool {
	_, err := os.Stat("/proc/driver/nvidia/version")
	return err == nil
}

// firstLine is the end of an error's chain, as far as it fits on a line.
func firstLine(err error) string {
	var pe *restore.ProviderError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	if r := []rune(line); len(r) > 160 {
		line = string(r[:160]) + "…"
	}
	return line
}

// model lets the configured model restore the known face on the configured
// provider.
func (d *doctor) model(ctx context.Context, cfg *config.Config, folder string) {
	check := "model " + cfg.Restore.Model
	model, err := restore.FindModel(cfg.Restore.Model, folder)
	if err != nil {
		d.add(check, stateFail, "`restored models list` shows what is here; `restored models pull NAME` fetches one", "%v", err)
		return
	}
	session, err := restore.Open(model, restore.Options{Provider: cfg.Restore.Provider})
	var licence *restore.LicenceError
	switch {
	case errors.As(err, &licence):
		d.add(check, stateFail, "accept the licence, or set restore.model: "+restore.DefaultModel, "%v", err)
		return
	case err != nil:
		d.add(check, stateFail, "`restored models info` says what the file is", "%v", err)
		return
	}
	defer func() { _ = session.Close() }() // it only frees memory
	r, err := detect.NewRecognizer(folder)
	if err != nil {
		d.add(check, stateFail, "see dlib's models above", "%v", err)
		return
	}
	defer func() { _ = r.Close() }() // it only frees memory
	c, err := checkFace(ctx, session, r)
	switch {
	case err != nil:
		d.add(check, stateFail, "the model can't run on this machine; try --provider cpu", "%v", err)
	case !c.Good:
		d.add(check, stateFail, "the export is broken or its Spec is wrong: `restored models verify`", "%s", strings.Join(c.Problems, "; "))
	default:
		d.add(check, stateOK, "", "restores a known face on %s in %.0f ms, identity distance %.2f", c.Provider, c.Millis, value(c.Identity))
	}
}

// exists says whether there is something of that name.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
