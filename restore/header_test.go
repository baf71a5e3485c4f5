package restore

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	ort "github.com/yalue/onnxruntime_go"
)

// The header of every file says what ONNX Runtime says of it, but for the
// dimensions that it infers.
func TestHeaderIsONNXRuntimes(t *testing.T) {
	files, err := filepath.Glob("testdata/*.onnx")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range append(files, "models/"+DefaultModel+".onnx") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			in, out, err := ort.GetInputOutputInfo(file)
			if err != nil {
				t.Fatal(err)
			}
			h, err := readHeader(Model{path: file})
			if err != nil {
				t.Fatal(err)
			}
			for i, info := range h.out {
				for k, d := range info.Dimensions {
					if d < 0 && k < len(out[i].Dimensions) {
						out[i].Dimensions[k] = d
					}
				}
			}
			if !reflect.DeepEqual(h.in, in) || !reflect.DeepEqual(h.out, out) {
				t.Errorf("header %+v, %+v\nruntime %+v, %+v", h.in, h.out, in, out)
			}
			md, err := ort.GetModelMetadata(file)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := md.Destroy(); err != nil {
					t.Error(err)
				}
			}()
			keys, err := md.GetCustomMetadataMapKeys()
			if err != nil || len(keys) != len(h.metadata) {
				t.Errorf("keys %q, header %q; %v", keys, h.metadata, err)
			}
			for _, key := range keys {
				if value, _, err := md.LookupCustomMetadataMap(key); err != nil || h.metadata[key] != value {
					t.Errorf("%s is %q, header %q; %v", key, value, h.metadata[key], err)
				}
			}
		})
	}
}

func FuzzHeader(f *testing.F) {
	files, err := filepath.Glob("testdata/*.onnx")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(data[:len(data)/2])
	}
	f.Add([]byte("\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := parseHeader(bytes.NewReader(data), int64(len(data)))
		if err == nil && len(h.out) == 0 {
			t.Error("a header without outputs")
		}
	})
}
