package restore

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
)

// What a Batcher gives to many callers is what the session gives to each.
func TestBatcher(t *testing.T) {
	s := openDefault(t)
	b := NewBatcher(s, 2)
	defer closeBatcher(t, b)
	faces := make([]Face, 4)
	for i := range faces {
		faces[i] = Face{Image: constant(s.Spec().Size, 0.1*float32(i), 0.4, 0.6), Steps: i, Seed: uint64(i)}
	}
	var wg sync.WaitGroup
	for _, f := range faces {
		wg.Go(func() {
			got, took, err := b.Restore(t.Context(), f)
			if err != nil || took <= 0 {
				t.Errorf("took %v: %v", took, err)
				return
			}
			want, err := s.Restore(t.Context(), []Face{f})
			if err != nil || !slices.Equal(got, want[0]) {
				t.Errorf("steps %d: not what the session gives (%v)", f.Steps, err)
			}
		})
	}
	wg.Wait()
}

func closeBatcher(t *testing.T, b *Batcher) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// A caller that gives up gets its context's error, and the others their faces;
// a face of the wrong size fails alone.
func TestBatcherErrors(t *testing.T) {
	s := openDefault(t)
	b := NewBatcher(s, 2)
	defer closeBatcher(t, b)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := b.Restore(ctx, Face{Image: constant(s.Spec().Size, 0.2, 0.4, 0.6)}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, _, err := b.Restore(t.Context(), Face{Image: []float32{1}}); err == nil {
		t.Error("a face of one value was restored")
	}
	if _, _, err := b.Restore(t.Context(), Face{Image: constant(s.Spec().Size, 0.2, 0.4, 0.6)}); err != nil {
		t.Errorf("after others have failed: %v", err)
	}
}
