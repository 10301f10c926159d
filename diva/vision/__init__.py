"""From images to features: data sets, transforms, backbones. Imports no closed form."""
