package restore

import (
	"errors"
	"fmt"
	"strings"

	ort "github.com/yalue/onnxruntime_go"
)

// A Port is an input or output of a model. A dimension below 1 is free.
type Port struct {
	Name  string  `json:"name"`
	Type  string  `json:"type"`
	Shape []int64 `json:"shape"`
}

// A Description is what a model's file says of itself.
type Description struct {
	Inputs  []Port `json:"inputs"`
	Outputs []Port `json:"outputs"`
	Spec    *Spec  `json:"spec,omitempty"` // nil: it can't be told, see Unknown
	Origin  string `json:"origin,omitempty"`
	Unknown string `json:"unknown,omitempty"` // what can't be told, and why
}

// The origins of a Spec in a Description.
const (
	FromMetadata = "the file's metadata"
	FromSidecar  = "the file beside it"
	FromFamily   = "a family with the same inputs"
)

// Describe reads a model without loading it for work. The error is only of a
// file that can't be read; what the file doesn't tell is in Unknown.
func Describe(m Model) (Description, error) {
	p, err := inspect(m)
	if err != nil {
		return Description{}, fmt.Errorf("model %s: %w", m.Name, err)
	}
	d := Description{Inputs: portsOf(p.in), Outputs: portsOf(p.out)}
	spec, origin, err := readSpecOrigin(m, p)
	if err != nil {
		d.Unknown = err.Error()
		return d, nil //nolint:nilerr // what can't be told is part of the answer
	}
	d.Spec, d.Origin = &spec, origin
	return d, nil
}

func portsOf(infos []ort.InputOutputInfo) []Port {
	out := make([]Port, len(infos))
	for i, info := range infos {
		name := strings.ToLower(strings.TrimPrefix(info.DataType.String(), "ONNX_TENSOR_ELEMENT_DATA_TYPE_"))
		out[i] = Port{info.Name, name, info.Dimensions}
	}
	return out
}

// Hints are what a user says of a model that doesn't tell it itself.
type Hints struct {
	Size        int
	Template    string
	Range       [2]float32 // both 0: not said
	ColourOrder string
	ImageInput  string
	Output      string
	Inputs      map[string]float64 // the constants for further inputs
}

// Guess makes a Spec of a model that fits no family, from its inputs, its
// outputs and the hints. notes say what was assumed; the error joins what must
// be said because it can't be told.
func Guess(d Description, h Hints) (spec Spec, notes []string, err error) {
	var missing []error
	spec = Spec{
		Family: "other", Size: h.Size, Template: h.Template, Range: h.Range, ColourOrder: h.ColourOrder,
		ImageInput: h.ImageInput, Output: h.Output,
	}
	assume := func(unset bool, note string) bool {
		if unset {
			notes = append(notes, note)
		}
		return unset
	}
	image, err := pickPort(d.Inputs, h.ImageInput, "input")
	out, outErr := pickPort(d.Outputs, h.Output, "output")
	if err := errors.Join(err, outErr); err != nil {
		return Spec{}, nil, err
	}
	spec.ImageInput, spec.Output = image.Name, out.Name
	if spec.Size == 0 && len(image.Shape) == 4 && image.Shape[2] > 0 {
		spec.Size = int(image.Shape[2])
	}
	if spec.Size == 0 {
		missing = append(missing, errors.New("the side of its image is free: say it (--size 512)"))
	}
	if assume(spec.Template == "", "the template ffhq_512 (else: --template arcface_128)") {
		spec.Template = "ffhq_512"
	}
	if assume(spec.Range == [2]float32{}, "the range -1,1 (else: --range 0,1)") {
		spec.Range = [2]float32{-1, 1}
	}
	if assume(spec.ColourOrder == "", "the colour order RGB (else: --colour-order BGR)") {
		spec.ColourOrder = "RGB"
	}
	for _, in := range d.Inputs {
		if in.Name == image.Name {
			continue
		}
		value, ok := h.Inputs[in.Name]
		if !ok {
			missing = append(missing, fmt.Errorf("what its input %q (%s %v) is fed with: say it (--input %s=VALUE)", in.Name, in.Type, in.Shape, in.Name))
			continue
		}
		spec.ExtraInputs = append(spec.ExtraInputs, ExtraInput{Name: in.Name, DType: in.Type, Shape: fixed(in.Shape), Default: value, Min: value, Max: value})
	}
	if err := errors.Join(missing...); err != nil {
		return Spec{}, notes, err
	}
	return spec, notes, spec.validate()
}

// pickPort finds the image among a model's inputs or outputs.
func pickPort(ports []Port, name, kind string) (Port, error) {
	var images []Port
	for _, p := range ports {
		if p.Name == name {
			return p, nil
		}
		if name == "" && len(p.Shape) == 4 && (p.Shape[1] == 3 || p.Shape[1] < 1) && strings.HasPrefix(p.Type, "float") {
			images = append(images, p)
		}
	}
	switch {
	case name != "":
		return Port{}, fmt.Errorf("it has no %s %q", kind, name)
	case len(images) == 0:
		return Port{}, fmt.Errorf("no %s is an image [N,3,S,S] of floats: it is no restorer", kind)
	case len(images) > 1 && kind == "input":
		return Port{}, fmt.Errorf("which of its inputs %q and %q is the image: say it (--image-input %s)", images[0].Name, images[1].Name, images[0].Name)
	}
	return images[0], nil
}

// fixed is a shape in which free dimensions are 1.
func fixed(shape []int64) []int64 {
	out := make([]int64, len(shape))
	for i, d := range shape {
		out[i] = max(d, 1)
	}
	return out
}
