"""A small CNN on the digits of scikit-learn."""

import lrs.torch
import torch
from sklearn.datasets import load_digits
from torch.nn import functional

EPOCHS = 8

torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
labels = torch.tensor(digits.target)
train = torch.utils.data.TensorDataset(images[:1437], labels[:1437])
batches = torch.utils.data.DataLoader(train, batch_size=32, shuffle=True)

model = torch.nn.Sequential(
    torch.nn.Conv2d(1, 16, 3, padding=1),
    torch.nn.ReLU(),
    torch.nn.MaxPool2d(2),
    torch.nn.Conv2d(16, 32, 3, padding=1),
    torch.nn.ReLU(),
    torch.nn.Flatten(),
    torch.nn.Linear(32 * 4 * 4, 10),
)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
scheduler = lrs.torch.LRScheduler(
    optimizer, "demo/digits", model=model, controller="auto", total_steps=EPOCHS * len(batches)
)

for epoch in range(EPOCHS):
    for x, y in batches:
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        if scheduler.guard(loss):
            optimizer.step()
        scheduler.step(loss)
    with torch.no_grad():
        scores = model(images[1437:])
    val_loss = functional.cross_entropy(scores, labels[1437:])
    scheduler.log(val_loss=val_loss)
    accuracy = (scores.argmax(1) == labels[1437:]).float().mean()
    print(f"epoch {epoch}: validation loss {val_loss:.4f}, accuracy {accuracy:.4f}")
    if scheduler.stop_advice:
        break
