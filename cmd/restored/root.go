package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"restored/config"
)

// A settingFlag is a flag that sets a key of the configuration.
type settingFlag struct{ flag, key string }

// settingFlags are the configuration keys that the commands take as flags.
var settingFlags = []settingFlag{
	{"state", "state"},
	{"workers", "workers"},
	{"model", "restore.model"},
	{"provider", "restore.provider"},
	{"steps", "restore.steps"},
	{"blend", "restore.blend"},
	{"min-face", "detect.min_face"},
	{"no-face", "photo.no_face"},
	{"log-level", "log.level"},
}

// workerFlags are those of restored worker alone.
var workerFlags = []settingFlag{{"queues", "queue.take"}, {"concurrency", "workers"}}

// execute runs the command line and returns the code to exit with.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	began := false
	root.PersistentPreRun = func(*cobra.Command, []string) { began = true }
	cmd, err := root.ExecuteContextC(ctx)
	refused := err != nil && !began // by cobra, because of the command line
	if refused {
		err = &codedError{exitUsage, err}
	}
	if err != nil && !errors.Is(err, errReported) {
		fmt.Fprintln(stderr, "restored:", err)
	}
	if refused && !cmd.HasSubCommands() {
		fmt.Fprintf(stderr, "Usage: %s\n", cmd.UseLine())
	}
	if refused {
		fmt.Fprintf(stderr, "See `%s --help`.\n", cmd.CommandPath())
	}
	return exitCode(err)
}

// errReported ends a command that has told its failures already.
var errReported = errors.New("some files failed")

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "restored",
		Short: "Restores faces in photos, unattended",
		Long: `restored finds the degraded faces in photos, restores them with a neural network
and writes copies in which everything else is as it was. The originals are only read.

"restored doctor" says what works here; "restored completion --help" how the shell
completes commands; colours are left out where NO_COLOR is set.

` + exitHelp,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(newServe(), newRun(), newWorker(), newWorkers(), newMigrate(), newJobs(), newJob(), newPreviews(), newBench(), newEval(), newAlign(),
		newConfig(), newModels(), newDoctor(), newEncoders())
	return root
}

// addSettings gives a command --config and the flags for configuration keys.
func addSettings(cmd *cobra.Command) {
	f := cmd.Flags()
	f.String("config", "", "configuration `file`; every key can also be set as RESTORED_…")
	docs := config.Reference()
	for _, s := range settingFlags {
		i := slices.IndexFunc(docs, func(o config.Option) bool { return o.Key == s.key })
		f.String(s.flag, "", fmt.Sprintf("`%s`: %s (default %s)", s.key, docs[i].Doc, docs[i].Default))
	}
	completeSettings(cmd)
}

// loadConfig reads the configuration that the command's flags ask for.
func loadConfig(cmd *cobra.Command) (*config.Config, error) {
	cfg, _, err := loadOrigins(cmd)
	return cfg, err
}

// loadOrigins is loadConfig that also tells where each value came from.
func loadOrigins(cmd *cobra.Command) (*config.Config, config.Origins, error) {
	given := map[string]string{}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		for _, s := range slices.Concat(settingFlags, workerFlags) {
			if s.flag == f.Name {
				given[s.key] = f.Value.String()
			}
		}
	})
	file, err := cmd.Flags().GetString("config")
	if err != nil {
		return nil, nil, err
	}
	cfg, origins, err := config.Load(file, given)
	if err != nil {
		return nil, nil, &codedError{exitUsage, err}
	}
	return cfg, origins, nil
}

// newLogger writes the log for people and for journald: one line an event.
func newLogger(w io.Writer, level slog.Leveler) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// logLevel understands log.level.
func logLevel(name string) slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(name)); err != nil {
		panic("config validates log.level: " + err.Error())
	}
	return l
}
