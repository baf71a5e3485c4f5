package restore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestSameAsPyTorch runs a small PLTrans here and in PyTorch on the same
// face and the same noise: pltrans/tests/parity.py exports the network and
// computes what it makes of them.
func TestSameAsPyTorch(t *testing.T) {
	const size, latent, side, seed = 64, 4, 4, 7
	dir := t.TempDir()
	face := make([]float32, 3*size*size)
	for i := range face {
		face[i] = float32(0.5 + 0.4*math.Sin(float64(i)*0.37)*math.Cos(float64(i/size)*0.11))
	}
	write := func(name string, v []float32) {
		t.Helper()
		var b bytes.Buffer
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("image.f32", face)
	write("noise.f32", appendNoise(nil, seed, latent*side*side))

	python := filepath.Join(deps(), "venv", "bin", "python")
	cmd := exec.CommandContext(t.Context(), python, "-m", "pltrans.tests.parity", dir)
	cmd.Dir = filepath.Dir(deps())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v (setup/setup.sh --python makes the environment)\n%s", cmd, err, out)
	}
	s := open(t, filepath.Join(dir, "tiny.onnx"))
	var results [2][]float32
	for i, steps := range []int{0, 5} {
		out, err := s.Restore(t.Context(), []Face{{Image: face, Steps: steps, Seed: seed}})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("torch-%d.f32", steps)))
		if err != nil {
			t.Fatal(err)
		}
		want := make([]float32, len(face))
		if err := binary.Read(bytes.NewReader(raw), binary.LittleEndian, want); err != nil {
			t.Fatal(err)
		}
		if d := farthest(out[0], want); d > 1e-5 {
			t.Errorf("%d steps: PyTorch differs by up to %g", steps, d)
		}
		if d := farthest(out[0], face); d < 0.01 {
			t.Errorf("%d steps: the network changes the face by %g only, so that nothing is compared", steps, d)
		}
		results[i] = out[0]
	}
	if d := farthest(results[0], results[1]); d < 1e-4 {
		t.Errorf("the steps change the face by %g only", d)
	}
}

func farthest(a, b []float32) (d float64) {
	for i := range a {
		d = max(d, math.Abs(float64(a[i])-float64(b[i])))
	}
	return d
}
