package restore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"

	ort "github.com/yalue/onnxruntime_go"
)

// maxBatch is the most faces that one run takes: what a run needs of memory
// grows with it.
const maxBatch = 8

// Startup loads ONNX Runtime from the file library. It is called once a
// process, before Open.
func Startup(library string) error {
	ort.SetSharedLibraryPath(library)
	// Errors are returned; the runtime's own lines would only repeat them, and
	// call a cancelled run an error.
	if err := ort.InitializeEnvironment(ort.WithLogLevelFatal()); err != nil {
		return fmt.Errorf("load ONNX Runtime from %s: %w (run `make setup`, or name the folder in paths.libraries)", library, err)
	}
	return nil
}

// Shutdown unloads what Startup has loaded. Every Session must be closed.
func Shutdown() error { return ort.DestroyEnvironment() }

// Options of a Session.
type Options struct {
	Provider string // one of Providers; "" is auto
	Threads  int    // of one run on the CPU; 0: one a core
}

// A Face is one aligned face to restore.
type Face struct {
	Image []float32 // planar RGB [3,S,S] in [0,1]
	Steps int       // diffusion steps; clipped to what the model takes, ignored if it takes none
	Seed  uint64    // of the noise, if the model takes any
}

// A Session is a loaded model. Its methods may be called by many goroutines
// at the same time, except Close.
type Session struct {
	model    Model
	spec     Spec
	provider string
	threads  int // as in Options
	fallback error
	ort      *ort.DynamicAdvancedSession
	types    []ort.TensorElementDataType // of the inputs: the image, then the extra ones
	outType  ort.TensorElementDataType
	close    sync.Once
	closeErr error
}

// Open loads a model. With the provider auto it takes a GPU if one really
// runs the model and else the CPU (Fallback says why); a provider that was
// named and can't run is a *ProviderError.
func Open(m Model, o Options) (*Session, error) {
	tries, err := candidates(o.Provider)
	if err != nil {
		return nil, err
	}
	if err := checkLicence(m); err != nil {
		return nil, err
	}
	p, err := inspect(m)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", m.Name, err)
	}
	spec, err := readSpec(m, p)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", m.Name, err)
	}
	var fallback error
	for i, provider := range tries {
		s, err := openWith(m, spec, p, provider, o)
		if err == nil {
			s.fallback = fallback
			return s, nil
		}
		if i == len(tries)-1 {
			return nil, fmt.Errorf("model %s: %w", m.Name, err)
		}
		fallback = err
	}
	panic("unreachable: candidates is never empty")
}

func openWith(m Model, spec Spec, p ports, provider string, o Options) (*Session, error) {
	if provider != "cpu" {
		if err := reallyRuns(m, spec, p, provider, o); err != nil {
			return nil, err
		}
	}
	so, err := newOptions(provider, o)
	if err != nil {
		return nil, err
	}
	s, err := newSession(m, spec, p, so)
	if err := errors.Join(err, so.Destroy()); err != nil {
		return nil, err
	}
	s.provider, s.threads = provider, o.Threads
	return s, nil
}

// newSession makes the ONNX Runtime session of a model whose Spec is complete.
func newSession(m Model, spec Spec, p ports, so *ort.SessionOptions) (*Session, error) {
	s := &Session{model: m, spec: spec}
	names := []string{spec.ImageInput}
	for _, e := range spec.ExtraInputs {
		names = append(names, e.Name)
	}
	for _, name := range names {
		in, ok := find(p.in, name)
		if !ok {
			return nil, fmt.Errorf("its Spec names the input %q, which the file lacks", name)
		}
		s.types = append(s.types, in.DataType)
	}
	out, ok := find(p.out, spec.Output)
	if !ok {
		return nil, fmt.Errorf("its Spec names the output %q, which the file lacks", spec.Output)
	}
	s.outType = out.DataType
	var err error
	if m.data != nil {
		s.ort, err = ort.NewDynamicAdvancedSessionWithONNXData(m.data, names, []string{spec.Output}, so)
	} else {
		s.ort, err = ort.NewDynamicAdvancedSession(m.path, names, []string{spec.Output}, so)
	}
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	return s, nil
}

// Spec says how the model is fed: the template to align to, the size.
func (s *Session) Spec() Spec { return s.spec }

// Model says what was loaded.
func (s *Session) Model() Model { return s.model }

// Provider is the execution provider that runs the model: cuda, tensorrt, cpu.
func (s *Session) Provider() string { return s.provider }

// Fallback says why auto didn't take a GPU; nil if it did or wasn't asked.
func (s *Session) Fallback() error { return s.fallback }

// TakesSteps says whether the model has a number of diffusion steps.
func (s *Session) TakesSteps() bool {
	for _, e := range s.spec.ExtraInputs {
		if e.isSteps() {
			return true
		}
	}
	return false
}

// Close frees the model. It is idempotent; no Restore may be running.
func (s *Session) Close() error {
	s.close.Do(func() { s.closeErr = s.ort.Destroy() })
	return s.closeErr
}

// Restore returns each face restored, in order: planar RGB [3,S,S] in [0,1].
// On a GPU the faces share runs of up to 8; on a CPU batching gains nothing.
// When ctx ends, the run in progress is terminated and waited for.
func (s *Session) Restore(ctx context.Context, faces []Face) ([][]float32, error) {
	n := s.spec.Size
	for i, f := range faces {
		if len(f.Image) != 3*n*n {
			return nil, fmt.Errorf("restore: face %d has %d values, want 3×%d×%d", i, len(f.Image), n, n)
		}
	}
	batch := s.batch()
	var out [][]float32
	for len(faces) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		k := min(batch, len(faces))
		got, err := s.runContext(ctx, faces[:k])
		if err != nil {
			return nil, fmt.Errorf("restore with %s: %w", s.model.Name, err)
		}
		out = append(out, got...)
		faces = faces[k:]
	}
	return out, nil
}

// batch is how many faces share a run.
func (s *Session) batch() int {
	if s.spec.Batchable && s.provider != "cpu" {
		return maxBatch
	}
	return 1
}

// runContext is run, terminated when ctx ends.
func (s *Session) runContext(ctx context.Context, faces []Face) ([][]float32, error) {
	ro, err := ort.NewRunOptions()
	if err != nil {
		return nil, err
	}
	done, watched := make(chan struct{}), make(chan struct{})
	var stopErr error
	go func() {
		defer close(watched)
		select {
		case <-ctx.Done():
			stopErr = ro.Terminate()
		case <-done:
		}
	}()
	out, err := s.run(faces, ro)
	close(done)
	<-watched
	err = errors.Join(err, stopErr, ro.Destroy())
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return out, err
}

// run runs the network once on a batch of faces.
func (s *Session) run(faces []Face, ro *ort.RunOptions) (_ [][]float32, err error) {
	n, side := int64(len(faces)), int64(s.spec.Size)
	shape := ort.NewShape(n, 3, side, side)
	inputs := make([]ort.Value, 0, len(s.types))
	defer func() {
		for _, v := range inputs {
			err = errors.Join(err, v.Destroy())
		}
	}()
	image, err := newTensor(s.types[0], shape, s.pack(faces))
	if err != nil {
		return nil, fmt.Errorf("input %q: %w", s.spec.ImageInput, err)
	}
	inputs = append(inputs, image)
	for i, e := range s.spec.ExtraInputs {
		v, err := extraTensor(e, s.types[1+i], faces)
		if err != nil {
			return nil, fmt.Errorf("input %q: %w", e.Name, err)
		}
		inputs = append(inputs, v)
	}
	out, err := emptyTensor(s.outType, shape)
	if err != nil {
		return nil, fmt.Errorf("output %q: %w", s.spec.Output, err)
	}
	defer func() { err = errors.Join(err, out.Destroy()) }()
	if err := s.ort.RunWithOptions(inputs, []ort.Value{out}, ro); err != nil {
		return nil, ofProvider(s.provider, err)
	}
	return s.unpack(floats(out), len(faces))
}

// ErrDevice is a run that failed on a GPU: it was lost, or has no memory left. It
// is not about the faces.
var ErrDevice = errors.New("the GPU failed")

// ofProvider marks the error of a run by what it ran on.
func ofProvider(provider string, err error) error {
	if provider == "cpu" {
		return err
	}
	return fmt.Errorf("%w (%s): %w", ErrDevice, provider, err)
}

// pack normalises the faces from [0,1] to the model's range and colour order.
func (s *Session) pack(faces []Face) []float32 {
	lo, span := s.spec.Range[0], s.spec.Range[1]-s.spec.Range[0]
	plane := s.spec.Size * s.spec.Size
	data := make([]float32, 0, len(faces)*3*plane)
	for _, f := range faces {
		for c := range 3 {
			if s.spec.ColourOrder == "BGR" {
				c = 2 - c
			}
			for _, v := range f.Image[c*plane : (c+1)*plane] {
				data = append(data, lo+span*v)
			}
		}
	}
	return data
}

// unpack is the inverse of pack; values are clipped to [0,1] and what isn't a
// number is an error: an fp16 model may overflow.
func (s *Session) unpack(data []float32, n int) ([][]float32, error) {
	lo, span := s.spec.Range[0], s.spec.Range[1]-s.spec.Range[0]
	plane := s.spec.Size * s.spec.Size
	out := make([][]float32, n)
	for i := range out {
		face := make([]float32, 3*plane)
		for c := range 3 {
			from := c
			if s.spec.ColourOrder == "BGR" {
				from = 2 - c
			}
			src := data[(i*3+from)*plane:][:plane]
			for k, v := range src {
				if v != v || v > math.MaxFloat32 || v < -math.MaxFloat32 {
					return nil, errors.New("the network's output isn't a number somewhere")
				}
				face[c*plane+k] = min(max((v-lo)/span, 0), 1)
			}
		}
		out[i] = face
	}
	return out, nil
}

// extraTensor makes the tensor of an input beside the image.
func extraTensor(e ExtraInput, dtype ort.TensorElementDataType, faces []Face) (ort.Value, error) {
	switch {
	case e.isNoise():
		per := int64(1)
		for _, d := range e.Shape {
			per *= d
		}
		data := make([]float32, 0, per*int64(len(faces)))
		for _, f := range faces {
			data = appendNoise(data, f.Seed, per)
		}
		return newTensor(dtype, append(ort.NewShape(int64(len(faces))), e.Shape...), data)
	case e.isSteps():
		data := make([]float32, len(faces))
		for i, f := range faces {
			data[i] = float32(min(max(float64(f.Steps), e.Min), e.Max))
		}
		return newTensor(dtype, ort.NewShape(int64(len(faces))), data)
	}
	v, err := e.number()
	if err != nil {
		return nil, err
	}
	return newTensor(dtype, ort.NewShape(e.Shape...), []float32{float32(v)})
}

// appendNoise appends n values of N(0, 1) that depend on the seed only.
func appendNoise(data []float32, seed uint64, n int64) []float32 {
	r := rand.New(rand.NewPCG(seed, 0))
	for range n {
		data = append(data, float32(r.NormFloat64()))
	}
	return data
}

// Version is ONNX Runtime's, once Startup has loaded it.
func Version() string { return ort.GetVersion() }
