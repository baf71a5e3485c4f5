package detect

import (
	"fmt"
	"os"
	"path/filepath"
)

// dlib's public model files (PyPI: face_recognition_models 0.3.0), by the names
// that go-face demands.
const (
	predictorFile = "shape_predictor_5_face_landmarks.dat"
	resnetFile    = "dlib_face_recognition_resnet_model_v1.dat"
	mmodFile      = "mmod_human_face_detector.dat"
)

// modelBytes are their sizes. A shorter file is a truncated one; dlib would say
// so too, but neither early nor plainly.
var modelBytes = map[string]int64{
	predictorFile: 9150489,
	resnetFile:    22466066,
	mmodFile:      729940,
}

// checkModel reports a model file that can't be what it should be before native
// code sees it, and gives its path. Contents are guarded by the set-up's
// checksums, and by dlib's own format checks.
func checkModel(folder, name string) (string, error) {
	path := filepath.Join(folder, name)
	st, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("detect: model: %w (run the set-up, or correct the models' folder)", err)
	}
	if !st.Mode().IsRegular() {
		return "", fmt.Errorf("detect: model %s: not a regular file", path)
	}
	if n := st.Size(); n != modelBytes[name] {
		return "", fmt.Errorf("detect: model %s: truncated or not the model: %d bytes, want %d (run the set-up again)",
			path, n, modelBytes[name])
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("detect: model: %w", err)
	}
	return path, f.Close()
}
