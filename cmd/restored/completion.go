package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"restored/config"
	"restored/restore"
)

// completeSettings completes the values of the flags that addSettings gives a
// command.
func completeSettings(cmd *cobra.Command) {
	values := map[string]cobra.CompletionFunc{
		"provider":  cobra.FixedCompletions(restore.Providers, cobra.ShellCompDirectiveNoFileComp),
		"no-face":   cobra.FixedCompletions([]string{"copy", "skip"}, cobra.ShellCompDirectiveNoFileComp),
		"log-level": cobra.FixedCompletions([]string{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp),
		"steps":     cobra.FixedCompletions([]string{"auto", "0", "2", "4", "8", "12"}, cobra.ShellCompDirectiveNoFileComp),
		"model":     cobra.FixedCompletions(modelNames(), cobra.ShellCompDirectiveDefault), // or a file
	}
	for flag, complete := range values {
		if cmd.Flags().Lookup(flag) == nil {
			continue
		}
		if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
			panic(err) // the flag is there and has none yet
		}
	}
	if err := errors.Join(cmd.MarkFlagFilename("config", "yaml", "yml"), cmd.MarkFlagDirname("state")); err != nil {
		panic(err)
	}
}

// flagError says which flag was meant by one that isn't there.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return usageErr("%w", err)
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	return usageErr("%w%s", err, config.Suggest("--"+unknown.GetSpecifiedName(), names))
}

// group completes a command that is nothing by itself: it prints its help, and
// says what an unknown command was meant to be.
func group(cmd *cobra.Command, of ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(of...)
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		var names []string
		for _, c := range of {
			names = append(names, c.Name())
		}
		return fmt.Errorf("unknown command %q for %q%s", args[0], cmd.CommandPath(), config.Suggest(args[0], names))
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}
