package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"restored/config"
	"restored/daemon"
	"restored/media"
)

// queueControl is the daemon's queue: daemon.Client where the daemon runs, else
// daemon.Control.
type queueControl interface {
	Status(ctx context.Context) (daemon.QueueInfo, error)
	List(ctx context.Context, state daemon.State, after int64, limit int) (daemon.Page, error)
	Find(ctx context.Context, path string) (int64, error)
	Show(ctx context.Context, id int64) (daemon.JobInfo, error)
	Retry(ctx context.Context, id int64) (daemon.JobInfo, error)
	Cancel(ctx context.Context, id int64) (daemon.JobInfo, error)
	Pause(ctx context.Context) (daemon.QueueInfo, error)
	Resume(ctx context.Context) (daemon.QueueInfo, error)
	Workers(ctx context.Context) (daemon.WorkerList, error)
	Close() error
}

func newJobs() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "jobs",
		Short: "See and control the daemon's queue",
		Long: `Shows the files that the daemon knows, and controls its queue. A running daemon is reached
through control.sock in its state folder, which the members of its group may use; without a running daemon
the commands work on the state folder themselves. A file is named by its number, as list
shows it, or by its path.`,
	}
	return group(cmd, newJobsList(),
		newJobsOne("show", "Show all that is known of a file, with its report", "", queueControl.Show),
		newJobsOne("retry", "Do failed files again", `Queues files that have failed from the start, as they are now, and has those that wait for
another try tried at once. A file that is done isn't done again: restored run --force does so.`, queueControl.Retry),
		newJobsOne("cancel", "Cancel files that wait or are in work", `Ends the work on files within two seconds, and takes them out of the queue: they have failed then, and
aren't tried again before retry is asked for or they change.`, queueControl.Cancel),
		newJobsQueue("pause", "Begin nothing new", `Lets what is in work end and begins nothing new, until resume and also after a restart. Files
that are dropped in meanwhile are noted and wait.`, queueControl.Pause),
		newJobsQueue("resume", "End a pause", "", queueControl.Resume),
		newJobsWatch())
}

// queueWork does a subcommand. Its result, unless nil, is printed: as JSON, or by people.
type queueWork func(ctx context.Context, q queueControl, args []string) (result any, people func(io.Writer), err error)

// jobsCommand completes a subcommand that does f.
func jobsCommand(cmd *cobra.Command, f queueWork) *cobra.Command {
	var asJSON bool
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := loadConfig(cmd)
		if err != nil {
			return err
		}
		q, err := openJobs(cmd.Context(), cfg)
		if err != nil {
			return err
		}
		result, people, err := f(cmd.Context(), q, args)
		if result != nil && asJSON {
			err = errors.Join(err, json.NewEncoder(cmd.OutOrStdout()).Encode(result))
		} else if result != nil {
			people(cmd.OutOrStdout())
		}
		return errors.Join(err, q.Close())
	}
	addSettings(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// openJobs reaches the queue of a state folder, or the shared one.
func openJobs(ctx context.Context, cfg *config.Config) (queueControl, error) {
	state := cfg.State
	client, err := daemon.DialControl(ctx, state)
	if err == nil {
		return client, nil
	}
	if !errors.Is(err, daemon.ErrNoDaemon) {
		return nil, fmt.Errorf("%w: be root or a member of the daemon's group", err)
	}
	if cfg.Queue.URL != "" {
		shared, err := daemon.OpenSharedControl(ctx, cfg.Queue.URL, media.IsVideoName)
		if err != nil {
			return nil, skewed(err)
		}
		return shared, nil
	}
	alone, openErr := daemon.OpenControl(ctx, state, media.IsVideoName)
	if errors.Is(openErr, daemon.ErrLocked) {
		return nil, fmt.Errorf("%w, and %w", openErr, err)
	}
	if errors.Is(openErr, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; name the daemon's folder, by --config or --state", openErr)
	}
	if openErr != nil {
		return nil, openErr
	}
	return alone, nil
}

func newJobsList() *cobra.Command {
	var status string
	var after int64
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List files by their numbers",
		Args:    cobra.NoArgs,
		Example: "  restored jobs list --config /etc/restored/restored.yaml --status failed",
		PreRunE: func(*cobra.Command, []string) error {
			if limit < 1 || limit > daemon.MaxPage {
				return usageErr("--limit must be from 1 to %d", daemon.MaxPage)
			}
			switch daemon.State(status) {
			case "", daemon.Queued, daemon.Running, daemon.Done, daemon.Failed:
				return nil
			}
			return usageErr("--status must be queued, running, done or failed")
		},
	}
	cmd.Flags().StringVar(&status, "status", "", "only files with this `status`: queued, running, done or failed")
	cmd.Flags().Int64Var(&after, "after", 0, "only files whose numbers are greater than this `number`")
	cmd.Flags().IntVar(&limit, "limit", daemon.DefaultPage, fmt.Sprintf("at most so many `files`, 1 to %d", daemon.MaxPage))
	return jobsCommand(cmd, func(ctx context.Context, q queueControl, _ []string) (any, func(io.Writer), error) {
		queue, err := q.Status(ctx)
		if err != nil {
			return nil, nil, err
		}
		page, err := q.List(ctx, daemon.State(status), after, limit)
		if err != nil {
			return nil, nil, err
		}
		result := struct {
			Queue daemon.QueueInfo `json:"queue"`
			daemon.Page
		}{queue, page}
		return result, func(w io.Writer) {
			printQueue(w, queue)
			for _, j := range page.Jobs {
				fmt.Fprintf(w, "%7d  %-8s %s\n", j.ID, j.State, printable(j.Path+jobNote(j)))
			}
			if page.Next != 0 {
				fmt.Fprintf(w, "more with --after %d\n", page.Next)
			}
		}, nil
	})
}

// jobNote is what a line of the list says behind the path.
func jobNote(j daemon.JobInfo) string {
	switch {
	case j.Reason != "":
		return ": " + j.Reason
	case j.Segments > 0:
		return fmt.Sprintf(": %s, %d of %d segments", j.Stage, j.SegmentsDone, j.Segments)
	case j.Stage != "":
		return ": " + j.Stage
	}
	return ""
}

func printQueue(w io.Writer, q daemon.QueueInfo) {
	paused := ""
	if q.Paused {
		paused = "; paused"
	}
	fmt.Fprintf(w, "%d waiting, %d in work, %d done, %d failed%s\n", q.Queued, q.Running, q.Done, q.Failed, paused)
}

// newJobsOne is a subcommand that does f to each file that is named. One that
// can't be done doesn't keep the others from it.
func newJobsOne(name, short, long string, f func(queueControl, context.Context, int64) (daemon.JobInfo, error)) *cobra.Command {
	cmd := &cobra.Command{Use: name + " NUMBER|PATH...", Short: short, Long: long, Args: cobra.MinimumNArgs(1)}
	return jobsCommand(cmd, func(ctx context.Context, q queueControl, args []string) (any, func(io.Writer), error) {
		jobs := []daemon.JobInfo{}
		var failed error
		for _, arg := range args {
			id, err := jobNumber(ctx, q, arg)
			var j daemon.JobInfo
			if err == nil {
				j, err = f(q, ctx, id)
			}
			if err != nil {
				failed = errors.Join(failed, err)
				continue
			}
			jobs = append(jobs, j)
		}
		return jobs, func(w io.Writer) {
			for _, j := range jobs {
				printJob(w, j, name == "show")
			}
		}, failed
	})
}

// jobNumber understands a number or a path.
func jobNumber(ctx context.Context, q queueControl, arg string) (int64, error) {
	if id, err := strconv.ParseInt(arg, 10, 64); err == nil {
		return id, nil
	}
	abs, err := filepath.Abs(arg)
	if err != nil {
		return 0, err
	}
	return q.Find(ctx, abs)
}

func printJob(w io.Writer, j daemon.JobInfo, whole bool) {
	fmt.Fprintf(w, "%d  %s  %s\n", j.ID, j.State, printable(j.Path+jobNote(j)))
	if !whole {
		return
	}
	line := func(name, value string) { fmt.Fprintf(w, "  %-12s %s\n", name, printable(value)) }
	moment := func(name string, t *time.Time) {
		if t != nil {
			line(name, t.Local().Format(time.RFC3339))
		}
	}
	if j.Out != "" {
		line("output", j.Out)
	}
	line("tries", strconv.Itoa(j.Attempts))
	if j.Crashes > 0 {
		line("interrupted", strconv.Itoa(j.Crashes))
	}
	moment("queued", &j.Queued)
	moment("begun", j.Started)
	moment("ended", j.Finished)
	moment("next try", j.NextTry)
	if len(j.Report) > 0 {
		line("report", string(j.Report))
	}
}

func newJobsQueue(name, short, long string, f func(queueControl, context.Context) (daemon.QueueInfo, error)) *cobra.Command {
	cmd := &cobra.Command{Use: name, Short: short, Long: long, Args: cobra.NoArgs}
	return jobsCommand(cmd, func(ctx context.Context, q queueControl, _ []string) (any, func(io.Writer), error) {
		queue, err := f(q, ctx)
		if err != nil {
			return nil, nil, err
		}
		return queue, func(w io.Writer) { printQueue(w, queue) }, nil
	})
}
