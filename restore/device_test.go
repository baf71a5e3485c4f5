package restore

import (
	"errors"
	"testing"
)

// A run that fails on a GPU is about the GPU; one that fails on the CPU isn't.
func TestOfProvider(t *testing.T) {
	cause := errors.New("CUDA failure 700")
	if err := ofProvider("cuda", cause); !errors.Is(err, ErrDevice) || !errors.Is(err, cause) {
		t.Errorf("cuda: %v", err)
	}
	if err := ofProvider("cpu", cause); errors.Is(err, ErrDevice) || !errors.Is(err, cause) {
		t.Errorf("cpu: %v", err)
	}
}
