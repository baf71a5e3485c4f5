package restore

import (
	"crypto/sha256"
	_ "embed" // the models
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// The models that are part of the binary.
const (
	DefaultModel = "pltrans-s"
	SmallModel   = "pltrans-s-int8" // the default one in int8, for CPUs
)

var (
	//go:embed models/pltrans-s.onnx
	defaultModel []byte
	//go:embed models/pltrans-s-int8.onnx
	smallModel []byte
)

// A Model is an ONNX file, in memory or on disk.
type Model struct {
	Name   string
	SHA256 string // of its bytes, in hexadecimal
	path   string // "" if data holds it
	data   []byte
	side   Sidecar // what the file beside it says
}

// Path is where the model's file lies; "" for one in the binary.
func (m Model) Path() string { return m.path }

// Sidecar is what the file NAME.json beside the model says.
func (m Model) Sidecar() Sidecar { return m.side }

// FindModel returns the model of that name: an embedded one, the file at a
// path that ends in ".onnx", or NAME.onnx in the folder of models.
func FindModel(name, folder string) (Model, error) {
	switch name {
	case DefaultModel:
		return embedded(name, defaultModel), nil
	case SmallModel:
		return embedded(name, smallModel), nil
	}
	path := name
	if !strings.HasSuffix(name, ".onnx") {
		path = filepath.Join(folder, name+".onnx")
	}
	f, err := os.Open(path)
	if err != nil {
		return Model{}, fmt.Errorf("model %q: %w (built in: %s, %s; others are files NAME.onnx in %s, or a path; `restored models list` shows them)", name, err, DefaultModel, SmallModel, folder)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return Model{}, fmt.Errorf("model %q: read %s: %w", name, path, err)
	}
	m := Model{Name: strings.TrimSuffix(filepath.Base(path), ".onnx"), SHA256: hex.EncodeToString(h.Sum(nil)), path: path}
	if m.side, err = readSidecar(path); err != nil {
		return Model{}, fmt.Errorf("model %q: %w", name, err)
	}
	if own := m.side.SHA256; own != "" && own != m.SHA256 {
		return Model{}, fmt.Errorf("model %q: %s is of another file (sha256 %.12s…, this one has %.12s…): the file was changed or is damaged; fetch or add it again",
			name, SidecarPath(path), own, m.SHA256)
	}
	return m, nil
}

func embedded(name string, data []byte) Model {
	sum := sha256.Sum256(data)
	return Model{Name: name, SHA256: hex.EncodeToString(sum[:]), data: data}
}
