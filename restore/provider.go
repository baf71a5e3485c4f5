package restore

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	ort "github.com/yalue/onnxruntime_go"
)

// Providers are the execution providers that can be asked for.
var Providers = []string{"auto", "cuda", "tensorrt", "cpu"}

// ProviderError reports an execution provider that was asked for and can't run.
type ProviderError struct {
	Provider string
	Err      error // what ONNX Runtime says, with the name of the missing library
}

func (e *ProviderError) Error() string {
	return fmt.Sprintf("execution provider %s can't run: %v; it needs the GPU build of ONNX Runtime (libonnxruntime_providers_%s.so beside libonnxruntime.so) and NVIDIA's driver and libraries; provider auto or cpu runs without",
		e.Provider, e.Err, e.Provider)
}

func (e *ProviderError) Unwrap() error { return e.Err }

// ortNames maps our names of providers to ONNX Runtime's.
var ortNames = map[string]string{
	"cuda":     "CUDAExecutionProvider",
	"tensorrt": "TensorrtExecutionProvider",
	"cpu":      "CPUExecutionProvider",
}

// candidates lists the providers to try in turn.
func candidates(provider string) ([]string, error) {
	switch provider {
	case "auto", "":
		return []string{"cuda", "cpu"}, nil
	case "cuda", "tensorrt", "cpu":
		return []string{provider}, nil
	}
	return nil, fmt.Errorf("unknown execution provider %q: want one of %s", provider, strings.Join(Providers, ", "))
}

// newOptions makes session options with one provider appended. Options whose
// append has failed must not be used again, so each try has its own.
func newOptions(provider string, o Options) (*ort.SessionOptions, error) {
	so, err := ort.NewSessionOptions()
	if err != nil {
		return nil, fmt.Errorf("session options: %w", err)
	}
	err = errors.Join(
		so.SetGraphOptimizationLevel(ort.GraphOptimizationLevelEnableAll),
		so.SetIntraOpNumThreads(o.Threads),
		so.SetInterOpNumThreads(1),
		// Sleep instead of spinning between two faces: other stages need the cores.
		so.AddSessionConfigEntry("session.intra_op.allow_spinning", "0"),
		appendProvider(so, provider),
	)
	if err != nil {
		return nil, errors.Join(err, so.Destroy())
	}
	return so, nil
}

func appendProvider(so *ort.SessionOptions, provider string) error {
	switch provider {
	case "cuda":
		p, err := ort.NewCUDAProviderOptions()
		if err != nil {
			return &ProviderError{provider, err}
		}
		if err := errors.Join(so.AppendExecutionProviderCUDA(p), p.Destroy()); err != nil {
			return &ProviderError{provider, err}
		}
	case "tensorrt":
		p, err := ort.NewTensorRTProviderOptions()
		if err != nil {
			return &ProviderError{provider, err}
		}
		if err := errors.Join(so.AppendExecutionProviderTensorRT(p), p.Destroy()); err != nil {
			return &ProviderError{provider, err}
		}
	}
	return nil
}

// reallyRuns runs one face with profiling on and fails unless most of the
// nodes' time was spent in the provider: a session may list a GPU and
// still run on the CPU.
func reallyRuns(m Model, spec Spec, p ports, provider string, o Options) (err error) {
	dir, err := os.MkdirTemp("", "restored-profile-")
	if err != nil {
		return fmt.Errorf("check of provider %s: %w", provider, err)
	}
	defer os.RemoveAll(dir)
	so, err := newOptions(provider, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, so.Destroy()) }()
	if err := so.EnableProfiling(filepath.Join(dir, "p")); err != nil {
		return fmt.Errorf("check of provider %s: %w", provider, err)
	}
	s, err := newSession(m, spec, p, so)
	if err != nil {
		return &ProviderError{provider, err}
	}
	_, err = s.run([]Face{{Image: make([]float32, 3*spec.Size*spec.Size)}}, nil)
	if err := errors.Join(err, s.ort.Destroy()); err != nil { // closing writes the profile
		return &ProviderError{provider, err}
	}
	files, err := filepath.Glob(filepath.Join(dir, "p*"))
	if err != nil || len(files) != 1 {
		return fmt.Errorf("check of provider %s: no profile was written", provider)
	}
	share, err := profileShare(files[0], ortNames[provider])
	if err != nil {
		return fmt.Errorf("check of provider %s: %w", provider, err)
	}
	if share < 0.5 {
		return &ProviderError{provider, fmt.Errorf("only %.0f %% of the time of a trial run was spent in it", 100*share)}
	}
	return nil
}

// profileShare reads a profile of ONNX Runtime (Chrome's trace format, a JSON
// array of events) and returns the part of the nodes' time that the execution
// provider of that name took.
func profileShare(path, provider string) (float64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var events []struct {
		Cat  string `json:"cat"`
		Dur  float64
		Args struct {
			Provider string `json:"provider"`
		} `json:"args"`
	}
	if err := json.NewDecoder(bufio.NewReader(f)).Decode(&events); err != nil {
		return 0, fmt.Errorf("read profile: %w", err)
	}
	var all, own float64
	for _, e := range events {
		if e.Cat != "Node" || e.Args.Provider == "" {
			continue
		}
		all += e.Dur
		if e.Args.Provider == provider {
			own += e.Dur
		}
	}
	if all == 0 {
		return 0, errors.New("read profile: it has no timed nodes")
	}
	return own / all, nil
}
