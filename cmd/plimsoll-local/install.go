package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/plimsoll/plimsoll/pkg/localcluster"
)

// localOverlay is the kustomization of the agent for a local cluster, in the source tree.
const localOverlay = "manifests/overlays/local"

func newInstall(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "install [KUSTOMIZATION]",
		Short: "Apply a kustomization, fitted to this cluster, and wait for its pods",
		Long: `Apply a kustomization, fitted to this cluster, and wait for its pods.

Without an argument it is ` + localOverlay + ` of the source tree: the agent, enforcing.
Its image must have been loaded: plimsoll-local image --all --load plimsoll-agent`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := localcluster.Open(*dir)
			if err != nil {
				return err
			}
			if len(args) == 0 {
				exe, err := os.Executable()
				if err != nil {
					return fmt.Errorf("finding the running executable: %w", err)
				}
				source := localcluster.FindSource(".", filepath.Dir(exe))
				if source == "" {
					return errors.New("not in the source tree: name the kustomization to install")
				}
				args = []string{filepath.Join(source, localOverlay)}
			}
			return c.Install(cmd.Context(), args[0])
		},
	}
}
