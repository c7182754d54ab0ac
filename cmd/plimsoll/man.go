package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// manCommand writes the manual's pages, one a command. It is for who packages plimsoll (make man).
func manCommand() *cobra.Command {
	return &cobra.Command{
		Use: "man DIRECTORY", Short: "Write the manual's pages", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true // the day of the build would be in every page
			// The same pages each time they are made: the date is that of no build.
			var epoch time.Time
			if err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Manual: "Plimsoll", Source: " ", Date: &epoch}, args[0]); err != nil {
				return fmt.Errorf("writing the manual's pages: %w", err)
			}
			return nil
		},
	}
}
