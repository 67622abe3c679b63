package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/yannh/kubeconform/pkg/validator"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// checkManifests is `kubeconform -strict`.
func checkManifests(schemas string, files []string) error {
	// A kind of the Prometheus operator's, of which Kubernetes publishes nothing.
	skipped := map[string]struct{}{"ServiceMonitor": {}}
	location := filepath.Join(schemas, "{{.ResourceKind}}{{.KindSuffix}}.json")
	checker, err := validator.New([]string{location}, validator.Opts{SkipKinds: skipped, Strict: true})
	if err != nil {
		return err
	}
	valid := 0
	var wrong []error
	for _, path := range files {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		before := valid
		for _, result := range checker.Validate(path, file) {
			switch result.Status {
			case validator.Valid:
				valid++
			case validator.Invalid, validator.Error:
				wrong = append(wrong, fmt.Errorf("%s: %w", path, result.Err))
			}
		}
		if valid == before && len(wrong) == 0 {
			wrong = append(wrong, fmt.Errorf("%s: it holds nothing that was checked", path))
		}
	}
	if len(wrong) == 0 {
		fmt.Printf("%d resources in %d files are valid\n", valid, len(files))
	}
	return errors.Join(wrong...)
}

func kustomize(folder string) error {
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		return err
	}
	text, err := resources.AsYaml()
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(text)
	return err
}
