# shellcheck shell=bash
images_build() { mkdir "$1/d"; outer_image "$1/d" "$1/images.ext4" 8; }
images_path() { rig_artefact images 000000000000 images_build; }
