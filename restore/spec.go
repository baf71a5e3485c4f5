package restore

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// specKey is the key of our Spec in the custom metadata of an ONNX file.
const specKey = "restored.spec"

// A Spec says how a restorer is fed. The zero values of ImageInput and Output
// mean "the only image-shaped one" and "the first".
type Spec struct {
	Family      string       `json:"family"`
	Name        string       `json:"name,omitempty"`
	Version     string       `json:"version,omitempty"`
	Size        int          `json:"size,omitzero"`         // S: side of the aligned face in pixels
	Template    string       `json:"template,omitzero"`     // landmarks that faces are aligned to: ffhq_512 or arcface_128
	Range       [2]float32   `json:"range,omitzero"`        // black and white in the network's input and output
	ColourOrder string       `json:"colour_order,omitzero"` // RGB or BGR
	ImageInput  string       `json:"image_input,omitempty"`
	Output      string       `json:"output,omitempty"`
	ExtraInputs []ExtraInput `json:"extra_inputs,omitempty"`
	Batchable   bool         `json:"batchable,omitzero"`
	SHA256      string       `json:"sha256,omitempty"` // of the file, in hexadecimal
	Licence     string       `json:"licence,omitempty"`
	URL         string       `json:"url,omitempty"`
}

// An ExtraInput is an input beside the image. Its type is read from the file.
// Shape is that of one face, without the batch.
type ExtraInput struct {
	Name    string  `json:"name"`
	DType   string  `json:"dtype,omitempty"` // for people; the session's own type is used
	Shape   []int64 `json:"shape,omitempty"`
	Default any     `json:"default,omitempty"` // a number, or "normal" for noise ~ N(0,1)
	Min     float64 `json:"min,omitempty"`
	Max     float64 `json:"max,omitempty"`
}

// isNoise says whether the input takes a sample of N(0,1).
func (e ExtraInput) isNoise() bool { return e.Default == "normal" }

// isSteps says whether the input takes the number of diffusion steps.
func (e ExtraInput) isSteps() bool { return e.Name == "steps" }

// number is the constant that the input is fed with.
func (e ExtraInput) number() (float64, error) {
	switch v := e.Default.(type) {
	case float64:
		return v, nil
	case int:
		return float64(v), nil
	}
	return 0, fmt.Errorf("input %q has no numeric default", e.Name)
}

// Families lists the conventions of public restorers (DESIGN.md §4, from their
// authors' code and from the files that FaceFusion publishes). The first entry
// whose inputs are exactly a file's inputs is its Spec; where families share
// their names they share their conventions too.
var Families = []Spec{
	{
		Family: "pltrans", Size: 512, Template: "ffhq_512", Range: [2]float32{-1, 1}, ColourOrder: "RGB",
		ImageInput: "image", Output: "restored", Batchable: true,
		ExtraInputs: []ExtraInput{
			{Name: "noise", Shape: []int64{16, 16, 16}, Default: "normal"},
			{Name: "steps", Default: 4, Min: 0, Max: 12},
		},
	},
	{
		Family: "codeformer", Size: 512, Template: "ffhq_512", Range: [2]float32{-1, 1}, ColourOrder: "RGB",
		ImageInput: "x", Output: "y",
		ExtraInputs: []ExtraInput{{Name: "w", Shape: []int64{1}, Default: 0.5, Min: 0, Max: 1}},
	},
	{
		Family: "codeformer", Size: 512, Template: "ffhq_512", Range: [2]float32{-1, 1}, ColourOrder: "RGB",
		ImageInput:  "input",
		ExtraInputs: []ExtraInput{{Name: "weight", Shape: []int64{1}, Default: 0.5, Min: 0, Max: 1}},
	},
	{
		Family: "vqfr", Size: 512, Template: "ffhq_512", Range: [2]float32{-1, 1}, ColourOrder: "RGB",
		ImageInput:  "x_lq",
		ExtraInputs: []ExtraInput{{Name: "fidelity_ratio", Shape: []int64{1}, Default: 0.0, Min: 0, Max: 1}},
	},
	{
		Family: "restoreformer", Size: 512, Template: "ffhq_512", Range: [2]float32{-1, 1}, ColourOrder: "RGB",
		ImageInput: "input", Output: "2359",
	},
	{
		Family: "gpen", Size: 256, Template: "arcface_128", Range: [2]float32{-1, 1}, ColourOrder: "RGB",
		ImageInput: "input",
	},
	{
		Family: "gfpgan", Size: 512, Template: "ffhq_512", Range: [2]float32{-1, 1}, ColourOrder: "RGB",
		ImageInput: "input",
	},
	{
		Family: "gpen", Size: 1024, Template: "ffhq_512", Range: [2]float32{-1, 1}, ColourOrder: "RGB",
		ImageInput: "input",
	},
	{
		Family: "gpen", Size: 2048, Template: "ffhq_512", Range: [2]float32{-1, 1}, ColourOrder: "RGB",
		ImageInput: "input",
	},
}

// parseSpec decodes and checks the Spec of an ONNX file's metadata.
func parseSpec(text string) (Spec, error) {
	var s Spec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return Spec{}, fmt.Errorf("metadata %s isn't valid JSON: %w", specKey, err)
	}
	if err := s.validate(); err != nil {
		return Spec{}, fmt.Errorf("metadata %s: %w", specKey, err)
	}
	return s, nil
}

func (s Spec) validate() error {
	var bad []error
	if s.Size < 16 || s.Size > 4096 {
		bad = append(bad, fmt.Errorf("size %d isn't in 16..4096", s.Size))
	}
	if s.Template != "ffhq_512" && s.Template != "arcface_128" {
		bad = append(bad, fmt.Errorf("template %q isn't ffhq_512 or arcface_128", s.Template))
	}
	if s.Range[0] >= s.Range[1] {
		bad = append(bad, fmt.Errorf("range %v isn't ascending", s.Range))
	}
	if s.ColourOrder != "RGB" && s.ColourOrder != "BGR" {
		bad = append(bad, fmt.Errorf("colour_order %q isn't RGB or BGR", s.ColourOrder))
	}
	for _, e := range s.ExtraInputs {
		if e.isNoise() {
			continue
		}
		if _, err := e.number(); err != nil {
			bad = append(bad, err)
		}
	}
	return errors.Join(bad...)
}

// matchFamily finds the public family of a file without a Spec of ours by the
// names of its inputs and outputs and the size of its image (0 if free).
func matchFamily(inputs, outputs []string, size int) (Spec, error) {
	for _, s := range Families {
		want := []string{s.ImageInput}
		for _, e := range s.ExtraInputs {
			want = append(want, e.Name)
		}
		if !sameSet(want, inputs) || (s.Output != "" && !slices.Contains(outputs, s.Output)) {
			continue
		}
		if size != 0 && size != s.Size {
			continue
		}
		return s, nil
	}
	return Spec{}, fmt.Errorf("its inputs %q, outputs %q and size %d fit no known family of restorers", inputs, outputs, size)
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}
