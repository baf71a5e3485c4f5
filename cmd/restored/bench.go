package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"restored/media"
	"restored/pipeline"
	"restored/restore"
)

func newBench() *cobra.Command {
	var repeat int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "bench FILE...",
		Short: "Measure the cost of each stage on this machine, as ratios to the bare model",
		Long: `Restores each photo or video several times into a temporary folder, and between the runs feeds
the same number of faces, with the same steps, to the bare ONNX session. Prints the
median of each stage's time, and all of it over the bare session's time. A video is worked
on in the same way, and beside it FFmpeg's command line decodes and encodes it with the
same settings; it is encoded even if nothing is restored in it.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			cfg, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			if repeat < 1 {
				return usageErr("--repeat %d: want at least 1", repeat)
			}
			n, err := openNativeFor(cfg, newLogger(cmd.ErrOrStderr(), slog.LevelWarn), func(o *pipeline.Options) { o.Video.Always = true })
			if err != nil {
				return err
			}
			for _, file := range files {
				var b interface{ print(io.Writer) }
				if media.IsVideoName(file) {
					b, err = benchVideo(cmd.Context(), n, file, repeat)
				} else {
					b, err = benchPhoto(cmd.Context(), n, file, repeat)
				}
				if err != nil {
					break
				}
				if asJSON {
					err = json.NewEncoder(cmd.OutOrStdout()).Encode(b)
				} else {
					b.print(cmd.OutOrStdout())
				}
			}
			if closeErr := n.close(); err == nil {
				err = closeErr
			}
			return err
		},
	}
	addSettings(cmd)
	cmd.Flags().IntVar(&repeat, "repeat", 7, "`times` that each file is restored")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a file")
	return cmd
}

// A benchmark is the median cost of one photo.
type benchmark struct {
	Photo    string          `json:"photo"`
	Width    int             `json:"width"`
	Height   int             `json:"height"`
	Faces    int             `json:"faces_restored"`
	Provider string          `json:"provider"`
	Bare     float64         `json:"bare_ms"` // the ONNX session alone, for as many faces
	Stages   pipeline.Millis `json:"ms"`
}

// overhead is what all stages cost beside the bare model, as a part of its time.
func (b benchmark) overhead() float64 { return b.Stages.Total/b.Bare - 1 }

// benchPhoto alternates whole runs and bare ones, after one of each to warm up.
func benchPhoto(ctx context.Context, n *native, photo string, repeat int) (benchmark, error) {
	b := benchmark{Photo: photo, Provider: n.session.Provider()}
	dir, err := os.MkdirTemp("", "restored-bench-")
	if err != nil {
		return b, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, filepath.Base(photo))
	ours := func(context.Context, string) (bool, error) { return true, nil } // the folder is ours
	var runs []pipeline.Millis
	var bare []float64
	for i := range repeat + 1 {
		r, err := n.engine.Photo(ctx, photo, out, ours)
		if err != nil {
			return b, err
		}
		faces := bareFaces(r, n.session.Spec().Size)
		if len(faces) == 0 {
			return b, usageErr("%s: no face was restored in it, so there is nothing to compare with", photo)
		}
		start := time.Now()
		if _, err := n.session.Restore(ctx, faces); err != nil {
			return b, err
		}
		ms := float64(time.Since(start).Microseconds()) / 1000
		b.Width, b.Height, b.Faces = r.Width, r.Height, len(faces)
		if i > 0 {
			runs, bare = append(runs, r.Millis), append(bare, ms)
		}
	}
	b.Bare = median(bare)
	b.Stages = medianStages(runs)
	return b, nil
}

// bareFaces are as many grey faces as the model restored, with the same steps.
func bareFaces(r pipeline.Report, size int) []restore.Face {
	var faces []restore.Face
	grey := make([]float32, 3*size*size)
	for i := range grey {
		grey[i] = 0.5
	}
	for _, f := range r.Faces {
		if f.ModelRan() {
			faces = append(faces, restore.Face{Image: grey, Steps: f.Steps})
		}
	}
	return faces
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

func medianStages(runs []pipeline.Millis) pipeline.Millis {
	of := func(get func(pipeline.Millis) float64) float64 {
		v := make([]float64, len(runs))
		for i, r := range runs {
			v[i] = get(r)
		}
		return median(v)
	}
	return pipeline.Millis{
		Decode:    of(func(m pipeline.Millis) float64 { return m.Decode }),
		Detect:    of(func(m pipeline.Millis) float64 { return m.Detect }),
		Landmarks: of(func(m pipeline.Millis) float64 { return m.Landmarks }),
		Align:     of(func(m pipeline.Millis) float64 { return m.Align }),
		Model:     of(func(m pipeline.Millis) float64 { return m.Model }),
		Identity:  of(func(m pipeline.Millis) float64 { return m.Identity }),
		Paste:     of(func(m pipeline.Millis) float64 { return m.Paste }),
		Encode:    of(func(m pipeline.Millis) float64 { return m.Encode }),
		Total:     of(func(m pipeline.Millis) float64 { return m.Total }),
	}
}

func (b benchmark) print(w io.Writer) {
	fmt.Fprintf(w, "%s: %d×%d, %d faces, %s\n", b.Photo, b.Width, b.Height, b.Faces, b.Provider)
	fmt.Fprintf(w, "  %-22s %9s %16s\n", "stage", "ms", "over bare model")
	for _, row := range []struct {
		stage string
		ms    float64
	}{
		{"decode", b.Stages.Decode}, {"detect", b.Stages.Detect}, {"landmarks", b.Stages.Landmarks},
		{"align", b.Stages.Align}, {"model", b.Stages.Model}, {"identity", b.Stages.Identity},
		{"paste", b.Stages.Paste}, {"encode", b.Stages.Encode}, {"total", b.Stages.Total},
		{"bare ONNX session", b.Bare},
	} {
		fmt.Fprintf(w, "  %-22s %9.1f %16.2f\n", row.stage, row.ms, row.ms/b.Bare)
	}
	fmt.Fprintf(w, "  overhead over the bare model: %.0f %%\n", 100*b.overhead())
}
