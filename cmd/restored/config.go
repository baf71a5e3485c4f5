package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"restored/config"
)

func newConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show or check the configuration",
		Long: `The configuration is put together from the defaults, the file given by --config, the
environment (RESTORED_…) and the flags, each over the one before.`,
	}
	return group(cmd, newConfigShow(), newConfigCheck())
}

func newConfigShow() *cobra.Command {
	var asJSON, changed bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print every key with its value and where the value came from",
		Long: `Prints every key, its effective value and the origin of the value: default, file and
line, environment variable or flag. It takes the same flags as the other commands, so
that adding "config show" to a command line says what that line would do. Passwords in
addresses are left out.`,
		Example: "  restored config show --config /etc/restored/restored.yaml\n  restored config show --changed --blend 0.8",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, origins, err := loadOrigins(cmd)
			if err != nil {
				return err
			}
			settings := cfg.Settings(origins)
			if changed {
				settings = notDefault(settings)
			}
			if asJSON {
				return settingsJSON(cmd.OutOrStdout(), settings)
			}
			return settingsTable(cmd.OutOrStdout(), settings)
		},
	}
	addSettings(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array of {key, value, origin}")
	cmd.Flags().BoolVar(&changed, "changed", false, "only what isn't the default")
	return cmd
}

func notDefault(all []config.Setting) []config.Setting {
	var out []config.Setting
	for _, s := range all {
		if s.Origin != "default" {
			out = append(out, s)
		}
	}
	return out
}

func settingsTable(w io.Writer, settings []config.Setting) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range settings {
		fmt.Fprintf(table, "%s\t%s\t%s\n", s.Key, printable(s.Value), printable(s.Origin))
	}
	return table.Flush()
}

func settingsJSON(w io.Writer, settings []config.Setting) error {
	type line struct {
		Key    string `json:"key"`
		Value  any    `json:"value"`
		Origin string `json:"origin"`
	}
	lines := []line{} // [] and not null where nothing is set
	for _, s := range settings {
		l := line{s.Key, s.Value, s.Origin}
		// A number is a number in JSON too; a time stays text.
		var typed any
		if yaml.Unmarshal([]byte(s.Value), &typed) == nil {
			switch typed.(type) {
			case int, float64, bool, []any:
				l.Value = typed
			}
		}
		if s.Value == `""` {
			l.Value = ""
		}
		lines = append(lines, l)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(lines)
}

func newConfigCheck() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check a configuration file as the daemon would at its start",
		Long: `Reads the file, the environment and the flags strictly: an unknown key, a key given
twice, a value of the wrong type or out of range is told with its file, line and key.
Whether folders, models and libraries are there is what "restored doctor" looks at.

Exit codes: 0 the configuration is good, 2 it isn't.`,
		Example: "  restored config check /etc/restored/restored.yaml",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if cmd.Flags().Changed("config") {
					return usageErr("name the file once: as the argument or by --config")
				}
				if err := cmd.Flags().Set("config", args[0]); err != nil {
					return err
				}
			}
			file := cmd.Flags().Lookup("config").Value.String()
			cfg, origins, err := loadOrigins(cmd)
			if asJSON {
				return errors.Join(checkJSON(cmd.OutOrStdout(), file, err), reported(err, exitUsage))
			}
			if err != nil {
				for _, p := range config.Problems(err) {
					fmt.Fprintln(cmd.ErrOrStderr(), printable(p.Error()))
				}
				return reported(err, exitUsage)
			}
			what := "the defaults"
			if file != "" {
				what = file
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: good; %d keys are set, %d folders are watched\n",
				printable(what), len(notDefault(cfg.Settings(origins))), len(cfg.Watch))
			return err
		},
	}
	addSettings(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object {file, good, problems}")
	return cmd
}

func checkJSON(w io.Writer, file string, err error) error {
	type problem struct {
		Key    string `json:"key,omitempty"`
		Value  string `json:"value,omitempty"`
		Origin string `json:"origin,omitempty"`
		Reason string `json:"reason"`
	}
	out := struct {
		File     string    `json:"file,omitempty"`
		Good     bool      `json:"good"`
		Problems []problem `json:"problems"`
	}{file, err == nil, []problem{}}
	for _, p := range config.Problems(err) {
		var e *config.Error
		if errors.As(p, &e) {
			out.Problems = append(out.Problems, problem{e.Key, e.Value, e.Origin, e.Reason})
		} else {
			out.Problems = append(out.Problems, problem{Reason: p.Error()})
		}
	}
	return json.NewEncoder(w).Encode(out)
}

// reported is a failure that has been told already, with its exit code.
func reported(err error, code int) error {
	if err == nil {
		return nil
	}
	return &codedError{code, errReported}
}
