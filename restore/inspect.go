package restore

import (
	"errors"
	"fmt"

	ort "github.com/yalue/onnxruntime_go"
)

// ports are the inputs and outputs of a model.
type ports struct{ in, out []ort.InputOutputInfo }

func inspect(m Model) (ports, error) {
	h, err := readHeader(m)
	if err != nil {
		return ports{}, fmt.Errorf("not a readable ONNX file: %w", err)
	}
	return h.ports, nil
}

// readSpec returns the Spec of a model: the one in its metadata, the one in
// its sidecar, or that of the public family that its inputs fit, with the names
// of the image input and the output filled in.
func readSpec(m Model, p ports) (Spec, error) {
	spec, _, err := readSpecOrigin(m, p)
	return spec, err
}

// readSpecOrigin is readSpec that also says where the Spec came from.
func readSpecOrigin(m Model, p ports) (spec Spec, origin string, err error) {
	text, ok, err := metadata(m, specKey)
	if err != nil {
		return Spec{}, "", err
	}
	switch {
	case ok:
		origin = FromMetadata
		if spec, err = parseSpec(text); err != nil {
			return Spec{}, "", err
		}
	case m.side.Size != 0:
		spec, origin = m.side.Spec, FromSidecar
	default:
		origin = FromFamily
		size := 0
		for _, i := range p.in {
			if isImage(i) && i.Dimensions[2] > 0 {
				size = int(i.Dimensions[2])
			}
		}
		if spec, err = matchFamily(namesOf(p.in), namesOf(p.out), size); err != nil {
			return Spec{}, "", err
		}
		spec = named(spec, m.side)
	}
	if spec.ImageInput == "" {
		if spec.ImageInput, err = onlyImage(p.in); err != nil {
			return Spec{}, "", err
		}
	}
	if spec.Output == "" {
		spec.Output = p.out[0].Name
	}
	if o, ok := find(p.out, spec.Output); !ok || !isImage(o) {
		return Spec{}, "", fmt.Errorf("its output %q isn't an image [N,3,S,S]", spec.Output)
	}
	spec.SHA256 = m.SHA256
	if spec.Name == "" {
		spec.Name = m.Name
	}
	return spec, origin, nil
}

// named gives a family's Spec what a sidecar without a Spec knows of the file.
func named(spec Spec, side Sidecar) Spec {
	if side.Family != "" {
		spec.Family = side.Family
	}
	spec.Name, spec.Version, spec.Licence, spec.URL = side.Name, side.Version, side.Licence, side.URL
	return spec
}

// metadata looks up a key of the file's custom metadata.
func metadata(m Model, key string) (text string, ok bool, err error) {
	h, err := readHeader(m)
	if err != nil {
		return "", false, fmt.Errorf("read metadata: %w", err)
	}
	text, ok = h.metadata[key]
	return text, ok, nil
}

// isImage says whether an input or output can hold images: [N,3,S,S], where
// a free dimension counts as fitting.
func isImage(i ort.InputOutputInfo) bool {
	d := i.Dimensions
	float := i.DataType == ort.TensorElementDataTypeFloat || i.DataType == ort.TensorElementDataTypeFloat16
	return float && len(d) == 4 && (d[1] == 3 || d[1] < 0)
}

func onlyImage(in []ort.InputOutputInfo) (string, error) {
	name := ""
	for _, i := range in {
		if !isImage(i) {
			continue
		}
		if name != "" {
			return "", fmt.Errorf("both inputs %q and %q could be the image", name, i.Name)
		}
		name = i.Name
	}
	if name == "" {
		return "", errors.New("no input is an image [N,3,S,S]")
	}
	return name, nil
}

func find(infos []ort.InputOutputInfo, name string) (ort.InputOutputInfo, bool) {
	for _, i := range infos {
		if i.Name == name {
			return i, true
		}
	}
	return ort.InputOutputInfo{}, false
}

func namesOf(infos []ort.InputOutputInfo) []string {
	names := make([]string, len(infos))
	for i, info := range infos {
		names[i] = info.Name
	}
	return names
}
