"""A convolutional network for text: a sentence is an image of height 1 whose pixels are words.

Collobert et al., "Natural Language Processing (almost) from Scratch", arXiv 1103.0398, and Kim,
"Convolutional Neural Networks for Sentence Classification", arXiv 1408.5882; the layers are those of
the course's film reviews (Chollet, "Deep Learning with Python", section 6.4). Each word becomes a
vector that is learned, filters look for phrases of seven words wherever they stand, and the maximum
over the text says how clearly each was found, however long the text is.

For texts of L = 500 words (N is the batch):

    stage         output
    words         (N, 500) numbers of words
    embedding     (N, 128, 500)
    convolution   (N, 32, 494)     7 words
    pooling       (N, 32, 98)      5 places
    convolution   (N, 32, 92)      7 places
    maximum       (N, 32)
    dense         (N, num_classes)
"""

from minicnn import nn
from minicnn.autograd import Tensor

__all__ = ["TextCNN", "text_cnn"]


class TextCNN(nn.Module):
    """The numbers of words, (N, L) integers -> scores (N, num_classes).

    Args:
        num_words: size of the vocabulary.
        embedding_dim: length of a word's vector.
        channels: number of filters of both convolutions.
        num_classes: size of the output.
        padding_idx: the number that stands where a text has no more words; its vector stays 0.

    Attributes:
        shortest: the least L for which every window fits.
    """

    shortest = 41

    def __init__(
        self,
        num_words: int,
        embedding_dim: int,
        channels: int,
        num_classes: int,
        padding_idx: int | None = None,
    ):
        super().__init__()
        self.embedding = nn.Embedding(num_words, embedding_dim, padding_idx)
        self.features = nn.Sequential(
            nn.Conv1d(embedding_dim, channels, 7),
            nn.ReLU(),  # (N, 32, L - 6)
            nn.MaxPool1d(5),  # (N, 32, (L - 6) // 5)
            nn.Conv1d(channels, channels, 7),
            nn.ReLU(),  # (N, 32, (L - 6) // 5 - 6)
            nn.GlobalMaxPool1d(),  # (N, 32, 1)
            nn.Flatten(),  # (N, 32)
        )
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, words: Tensor) -> Tensor:
        """Return the scores of texts.

        Raises:
            ValueError: for texts that are too short, or no batch of texts.
        """
        if words.ndim != 2 or words.shape[1] < self.shortest:
            raise ValueError(
                f"TextCNN: expected texts (N, L) of at least {self.shortest} words, got shape "
                f"{words.shape}; fill short texts up with a number that is no word"
            )
        vectors = self.embedding(words)  # (N, L, 128)
        return self.classifier(self.features(vectors.transpose(1, 2)))


def text_cnn(
    num_words: int = 10_000,
    embedding_dim: int = 128,
    channels: int = 32,
    num_classes: int = 1,
    padding_idx: int | None = None,
) -> TextCNN:
    """The network of the course's film reviews, 1,315,937 parameters.

    Its one output is the logit that a review is positive, for `nn.BCEWithLogitsLoss`. The arguments
    are those of `TextCNN`.
    """
    return TextCNN(num_words, embedding_dim, channels, num_classes, padding_idx)
