package main

import (
	"bufio"
	"context"
	_ "embed" // the clip
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"restored/config"
	"restored/media"
)

// clipFile is two grey pictures of 256×256 in H.264: enough to open an encoder.
//
//go:embed clip.mp4
var clipFile []byte

// encoderPatience is how long an encoder may take to open.
const encoderPatience = 20 * time.Second

// newEncoders makes the hidden command that opens encoders: a driver that hangs or
// crashes must not take the doctor with it.
func newEncoders() *cobra.Command {
	return &cobra.Command{
		Use:    "encoders CLIP NAME...",
		Short:  "Open encoders and say which work (for doctor)",
		Hidden: true,
		Args:   cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := media.ProbeVideo(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			for _, name := range args[1:] {
				said := "ok"
				if _, err := media.ChooseEncoding(v, media.EncodeOptions{Encoder: name}); err != nil {
					said = printable(err.Error())
				}
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", name, said); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// videos opens each encoder on a clip of our own.
func (d *doctor) videos(ctx context.Context, cfg *config.Config) {
	dir, err := os.MkdirTemp("", "restored-doctor-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = os.WriteFile(filepath.Join(dir, "clip.mp4"), clipFile, 0o600)
	}
	if err != nil {
		d.add("videos", stateWarn, "free some space in "+os.TempDir(), "%v", err)
		return
	}
	clip := filepath.Join(dir, "clip.mp4")
	if _, err := media.ProbeVideo(ctx, clip); err != nil {
		d.add("videos", stateFail, "install the FFmpeg libraries that restored was built for (Debian 12's)", "a plain MP4 can't be read: %v", err)
		return
	}
	var works, not []string
	exe, err := os.Executable()
	if err != nil {
		d.add("video encoders", stateWarn, "", "%v", err)
		return
	}
	said := encoderTry{exe, clip, encoderPatience}.all(ctx, slices.DeleteFunc(config.Encoders(), func(n string) bool { return n == "auto" }))
	for _, s := range said {
		if s.says == "ok" {
			works = append(works, s.name)
			continue
		}
		if !s.faulty {
			not = append(not, s.name)
		}
		if s.name == cfg.Video.Encoder {
			d.add("video encoder "+s.name, stateFail, "choose one that opens here, or video.encoder: auto", "configured, but doesn't open: %s", s.says)
		} else if s.faulty {
			d.add("video encoder "+s.name, stateWarn, "don't configure it", "%s", s.says)
		}
	}
	if len(works) == 0 {
		d.add("video encoders", stateFail, "install an FFmpeg with libx264 or libx265", "none opens: %s", strings.Join(not, ", "))
		return
	}
	detail := fmt.Sprintf("these open: %s", strings.Join(works, ", "))
	if len(not) > 0 {
		detail += "; not here: " + strings.Join(not, ", ")
	}
	d.add("video encoders", stateOK, "", "%s", detail)
}

// An encoderSaid is what became of opening an encoder.
type encoderSaid struct {
	name, says string // "ok", or why not
	faulty     bool   // it hung or crashed
}

// An encoderTry opens encoders in child processes.
type encoderTry struct {
	exe, clip string
	patience  time.Duration // for each
}

// all opens the encoders. One that hangs or crashes is said so, and another
// child goes on with the rest.
func (e encoderTry) all(ctx context.Context, names []string) []encoderSaid {
	var all []encoderSaid
	for len(names) > 0 && ctx.Err() == nil {
		said, err := e.child(ctx, names)
		all = append(all, said...)
		names = names[len(said):]
		if len(names) > 0 {
			why := "the process that opens it ended"
			if err != nil {
				why = err.Error()
			}
			all = append(all, encoderSaid{names[0], why, true})
			names = names[1:]
		}
	}
	return all
}

// child runs one child and returns what it said of the first names.
func (e encoderTry) child(ctx context.Context, names []string) ([]encoderSaid, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	child := exec.CommandContext(ctx, e.exe, append([]string{"encoders", e.clip}, names...)...)
	child.WaitDelay = time.Second
	out, err := child.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := child.Start(); err != nil {
		return nil, err
	}
	patience := time.AfterFunc(e.patience, cancel)
	var said []encoderSaid
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		name, says, ok := strings.Cut(lines.Text(), " ")
		if !ok || len(said) == len(names) || name != names[len(said)] {
			continue // an encoder's own chatter
		}
		said = append(said, encoderSaid{name, says, false})
		patience.Reset(e.patience)
	}
	err = child.Wait()
	if !patience.Stop() && len(said) < len(names) {
		err = fmt.Errorf("it didn't open within %s", e.patience)
	}
	return said, err
}
