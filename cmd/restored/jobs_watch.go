package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"restored/daemon"
)

func newJobsWatch() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Watch what the daemon has in work",
		Long: `Prints what a running daemon has in work whenever it changes, at most once a second, until
Ctrl-C: for videos the stage, frames, faces, frames a second and how long the stage still takes.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			client, err := daemon.DialControl(cmd.Context(), cfg.State)
			if errors.Is(err, daemon.ErrNoDaemon) {
				return fmt.Errorf("%w; start it (restored serve, systemctl start restored), or name its folder, by --config or --state", err)
			}
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			err = client.Watch(cmd.Context(), func(e daemon.Event) error {
				if asJSON {
					return json.NewEncoder(out).Encode(e)
				}
				printEvent(out, e)
				return nil
			})
			return errors.Join(err, client.Close())
		},
	}
	addSettings(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print each event as one JSON object on a line")
	return cmd
}

func printEvent(w io.Writer, e daemon.Event) {
	printQueue(w, e.Queue)
	for _, work := range e.Work {
		fmt.Fprintf(w, "  %d  %s\n", work.ID, printable(work.Path+workNote(work)))
	}
}

// workNote is what a line on a file in work says behind the path.
func workNote(w daemon.Work) string {
	if w.Stage == "" {
		return ""
	}
	note := ": " + w.Stage
	if w.Segments > 0 {
		note += fmt.Sprintf(", segment %d of %d, frame %d of %d, %d faces", min(w.SegmentsDone+1, w.Segments), w.Segments, w.Frames, w.Total, w.Faces)
	} else if w.Total > 0 {
		note += fmt.Sprintf(" %d%%", 100*w.Frames/w.Total)
	}
	if w.FPS > 0 {
		note += fmt.Sprintf(", %.1f fps", w.FPS)
	}
	if w.ETA > 0 {
		note += fmt.Sprintf(", %s left", time.Duration(w.ETA)*time.Second)
	}
	return note
}
